//! Server by transport by scenario: a test for each, from which tests/run makes a table.

/// The tests of one server over one transport: the scenarios that are for all servers, then those for a server in
/// front of a running application, or for one that starts it itself, and those that are named;
/// behind a colon, those that are named and no others.
///
/// The transport is the virtual host `kept-unix.test` of the server's configuration, spelt `kept_unix`. Where the server
/// starts the application it is `spawned`.
macro_rules! column {
    ($server:path, spawned $(, $more:ident)*) => {
        column! { @all $server, spawned:
            worker_environment worker_descriptors worker_crash worker_end $($more)*
        }
    };
    ($server:path, $transport:ident $(, $more:ident)*) => {
        column! { @all $server, $transport:
            connections restart_of_the_workers killed_workers $($more)*
        }
    };
    ($server:path, $transport:ident: $($scenario:ident)+) => {
        mod $transport {
            column! { @tests $server, $transport: $($scenario)* }
        }
    };
    (@all $server:path, $transport:ident: $($scenario:ident)*) => {
        mod $transport {
            column! { @tests $server, $transport:
                get head query_and_40_headers large_header
                post_nothing post_25_bytes post_64_kib post_1_mib post_50_mib
                chunked_upload slow_upload cut_upload client_gone answer_of_10_mib early_answer
                redirects cookies errors_with_bodies failed_responses responses_without_a_body stderr_in_the_error_log
                gone_while_waiting gone_during_events events_and_stop slow_reader
                parallel_clients restart_of_the_server $($scenario)*
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
