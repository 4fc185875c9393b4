//! bench-app with the crate tokio-fastcgi.

use std::io::Read;
use std::sync::LazyLock;

use tokio::net::UnixListener;
use tokio_fastcgi::{RequestResult, Requests};

static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| (b'a'..=b'z').cycle().take(10 << 20).collect());

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve());
}

async fn serve() {
    let listener = UnixListener::bind(std::env::args().nth(1).expect("usage: SOCKET")).expect("a socket");
    while let Ok((mut socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut requests = Requests::from_split_socket(socket.split(), 10, 10);
            while let Ok(Some(request)) = requests.next().await {
                let done = request
                    .process(|request| async move {
                        let params: usize = request
                            .params_iter()
                            .map_or(0, |params| params.map(|(name, value)| name.len() + value.len()).sum());
                        std::hint::black_box(params);
                        let script = request.get_str_param("script_name").unwrap_or_default().to_owned();
                        let mut out = request.get_stdout();
                        let _ = out.write(b"Content-Type: text/plain\r\n\r\n").await;
                        let _ = match &script[..] {
                            "/echo" => {
                                let mut body = Vec::new();
                                let _ = request.get_stdin().read_to_end(&mut body);
                                out.write(&body).await
                            }
                            "/big" => out.write(&BIG[..]).await,
                            _ => out.write(b"Hello, World!").await,
                        };
                        RequestResult::Complete(0)
                    })
                    .await;
                if done.is_err() {
                    return;
                }
            }
        });
    }
}
