//! Server by transport by scenario: a test for each, from which tests/run makes a table.

/// The tests of one server over one transport: every scenario that is for all servers, then those that are named.
///
/// The transport is the virtual host `kept-unix.test` of the server's configuration, spelt `kept_unix`.
macro_rules! column {
    ($server:path, $transport:ident $(, $more:ident)*) => {
        mod $transport {
            column! { @tests $server, $transport:
                get head query_and_40_headers large_header
                post_nothing post_25_bytes post_64_kib post_1_mib post_50_mib
                chunked_upload slow_upload cut_upload client_gone answer_of_10_mib early_answer
                redirects cookies errors_with_bodies stderr_in_the_error_log
                connections parallel_clients restart_of_the_server restart_of_the_workers killed_workers
                $($more)*
            }
        }
    };
    (@tests $server:path, $transport:ident: $($scenario:ident)*) => {
        $(#[test]
        fn $scenario() {
            let place = crate::servers::site::place!($server, stringify!($transport));
            crate::servers::scenario::$scenario(&place);
        })*
    };
}
