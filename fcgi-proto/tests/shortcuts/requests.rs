//! Requests that `next_request` takes, and inputs that differ from them in one condition.

use fcgi_proto::{Config, Opening, Pair, Role, Session};

use crate::at::{
    AT, AUTHORIZER, BEGIN, DATA, DATA_END, FILTER, NO_KEEP_CONN, PARAMS, PARAMS_END, REQUEST, STDIN, STDIN_END,
    as_type, of, opening, padded, responder, start, types_but, with,
};

#[test]
fn takes_a_request_of_whole_records() {
    start::<1>().takes(&[BEGIN, PARAMS, PARAMS_END], &responder(), 0);
    start::<1>().takes(&[BEGIN, PARAMS, PARAMS_END, STDIN, STDIN_END], &responder(), 20);
    start::<1>().takes(&[NO_KEEP_CONN, PARAMS, PARAMS_END], &Opening { keep_conn: false, ..responder() }, 0);
    for (id, low) in [(0x0100, 0), (0x0101, 1), (0xffff, 0xff)] {
        let high = (id >> 8) as u8;
        let request = [BEGIN, PARAMS, PARAMS_END].map(|record| with(&of(low, record), 2, high));
        start::<1>().takes(&request.each_ref().map(|record| &record[..]), &opening(id, Role::Responder, AT), 0);
    }
}

#[test]
fn takes_the_empty_stdin_of_a_responder_with_it() {
    start::<1>().takes(&REQUEST, &responder(), 0);
    start::<1>().ending_requests().takes(&[&REQUEST[..], &REQUEST].concat(), &responder(), 51);
    for (stdin_end, rest) in [
        (&STDIN_END[..7], 7), // cut
        (STDIN, 12),          // not empty
        (&of(2, STDIN_END), 8),
        (&of(0, STDIN_END), 8),
        (&as_type(2, STDIN_END), 8),
        (&as_type(4, STDIN_END), 8),
        (&as_type(8, STDIN_END), 8),
        (&with(STDIN_END, 0, 2), 8),
    ] {
        start::<1>().takes(&[BEGIN, PARAMS, PARAMS_END, stdin_end], &responder(), rest);
    }
}

#[test]
fn leaves_the_stdin_of_other_roles() {
    let authorizer = opening(1, Role::Authorizer, AT);
    start::<1>().takes(&[AUTHORIZER, PARAMS, PARAMS_END], &authorizer, 0);
    start::<1>().takes(&[AUTHORIZER, PARAMS, PARAMS_END, STDIN_END], &authorizer, 8);
    start::<1>().ending_requests().takes(&[AUTHORIZER, PARAMS, PARAMS_END, STDIN_END, BEGIN], &authorizer, 24);
    let filter = opening(1, Role::Filter, AT);
    start::<1>().takes(&[FILTER, PARAMS, PARAMS_END], &filter, 0);
    start::<1>().takes(&[FILTER, PARAMS, PARAMS_END, STDIN_END, DATA, DATA_END], &filter, 26);
}

#[test]
fn input_is_complete_when_no_stream_is_open() {
    for (records, want) in [
        ([BEGIN, PARAMS, PARAMS_END, STDIN_END], true),
        ([BEGIN, PARAMS, PARAMS_END, b""], false),
        ([AUTHORIZER, PARAMS, PARAMS_END, b""], true),
        ([FILTER, PARAMS, PARAMS_END, STDIN_END], false),
    ] {
        let mut session = Session::<1>::new(Config::default());
        assert!(session.next_request(&mut &records.concat()[..], |_| ()).is_some());
        assert!(session.is_active(1));
        assert_eq!(session.input_complete(1), want);
    }
}

#[test]
fn connection_is_over_after_a_request_without_keep_conn() {
    for (begin, want) in [(BEGIN, false), (NO_KEEP_CONN, true)] {
        let mut session = Session::<1>::new(Config::default());
        assert!(session.next_request(&mut &[begin, PARAMS, PARAMS_END].concat()[..], |_| ()).is_some());
        assert!(!session.is_over());
        session.end(1);
        assert_eq!(session.is_over(), want);
    }
}

#[test]
fn padding_is_skipped_on_each_record() {
    let [begin, params, params_end, stdin_end] = REQUEST.map(padded);
    let behind = opening(1, Role::Responder, 32..43);
    start::<1>().takes(&[&begin, PARAMS, PARAMS_END, STDIN_END], &behind, 0);
    start::<1>().takes(&[BEGIN, &params, PARAMS_END, STDIN_END], &responder(), 0);
    start::<1>().takes(&[BEGIN, PARAMS, &params_end, STDIN_END], &responder(), 0);
    start::<1>().takes(&[BEGIN, PARAMS, PARAMS_END, &stdin_end], &responder(), 8);
    start::<1>().takes(&[BEGIN, PARAMS, &params_end, STDIN], &responder(), 20);
    // Of the padding behind the last record, any part may be there.
    start::<1>().takes(&[BEGIN, PARAMS, &params_end[..12]], &responder(), 4);
    start::<1>().takes(&[BEGIN, PARAMS, PARAMS_END, &stdin_end[..8]], &responder(), 0);
    // In front of the first one it comes from the record before.
    let unused = padded(&of(7, STDIN));
    start::<1>().after(&[&unused[..12]]).takes(
        &[STDIN_END, BEGIN, PARAMS, PARAMS_END],
        &opening(1, Role::Responder, 32..43),
        0,
    );
    start::<1>().after(&[&unused[..15]]).takes(
        &[&STDIN_END[3..], BEGIN, PARAMS, PARAMS_END],
        &opening(1, Role::Responder, 29..40),
        0,
    );
    let all = [begin, params, params_end, stdin_end].concat();
    start::<1>().ending_requests().takes(&[&all, &all], &behind, 8 + all.len());
}

#[test]
fn leaves_a_request_that_is_cut() {
    let request = [BEGIN, PARAMS, PARAMS_END].concat();
    for cut in 0..request.len() {
        start::<1>().leaves(&[&request[..cut]]);
    }
    let padded = [BEGIN, PARAMS, PARAMS_END].map(padded).concat();
    for cut in 0..padded.len() - 8 {
        start::<1>().leaves(&[&padded[..cut]]);
    }
}

#[test]
fn takes_a_request_once_the_rest_of_it_is_there() {
    let request = [BEGIN, PARAMS, PARAMS_END].concat();
    let mut session = Session::<1>::new(Config::default());
    for cut in 0..request.len() {
        assert_eq!(session.next_request(&mut &request[..cut], |_| ()), None, "cut at {cut}");
    }
    assert_eq!(session.next_request(&mut &request[..], |_| ()), Some(responder()));
}

#[test]
fn leaves_a_request_behind_a_record_that_is_cut() {
    for before in [&STDIN[..1], &STDIN[..7], &STDIN[..8], &STDIN[..11]] {
        start::<1>().after(&[before]).leaves(&[BEGIN, PARAMS, PARAMS_END]);
        start::<1>().after(&[before]).leaves(&[&STDIN[before.len()..], BEGIN, PARAMS, PARAMS_END]);
    }
    start::<1>().after(&[b"G"]).leaves(&[BEGIN, PARAMS, PARAMS_END]);
}

#[test]
fn leaves_other_types_in_place_of_begin() {
    for kind in types_but(1) {
        start::<1>().leaves(&[&as_type(kind, BEGIN), PARAMS, PARAMS_END]);
    }
}

#[test]
fn leaves_request_id_0() {
    start::<1>().leaves(&[BEGIN, PARAMS, PARAMS_END].map(|record| of(0, record)).each_ref().map(|record| &record[..]));
}

#[test]
fn leaves_a_request_after_one_without_keep_conn() {
    let request = [BEGIN, PARAMS, PARAMS_END].map(|record| of(2, record)).concat();
    start::<2>().after(&[NO_KEEP_CONN]).leaves(&[&request]);
    start::<2>().after(&[NO_KEEP_CONN, PARAMS, PARAMS_END, STDIN_END]).leaves(&[&request]);
    start::<1>().ending_requests().after(&[NO_KEEP_CONN, PARAMS, PARAMS_END, STDIN_END]).leaves(&[&request]);
    start::<2>().after(&[BEGIN]).takes(&[&request], &opening(2, Role::Responder, AT), 0);
}

#[test]
fn leaves_a_second_begin_of_an_active_request() {
    start::<2>().after(&[BEGIN]).leaves(&[BEGIN, PARAMS, PARAMS_END]);
    start::<3>().after(&[&of(2, BEGIN), BEGIN, PARAMS, PARAMS_END, STDIN_END]).leaves(&[BEGIN, PARAMS, PARAMS_END]);
    start::<1>().ending_requests().after(&REQUEST).takes(&REQUEST, &responder(), 0);
}

#[test]
fn leaves_a_request_when_there_is_no_room_for_it() {
    start::<1>().after(&[&of(2, BEGIN)]).leaves(&[BEGIN, PARAMS, PARAMS_END]);
    start::<2>().after(&[&of(2, BEGIN), &of(3, BEGIN)]).leaves(&[BEGIN, PARAMS, PARAMS_END]);
    start::<3>().after(&[&of(2, BEGIN), &of(3, BEGIN)]).takes(&[BEGIN, PARAMS, PARAMS_END], &responder(), 0);
    start::<0>().leaves(&[BEGIN, PARAMS, PARAMS_END]);
}

#[test]
fn leaves_a_begin_of_another_length() {
    for len in [0, 7, 9] {
        let begin = [&with(&BEGIN[..8], 5, len), &b"\0\x01\x01\0\0\0\0\0\0"[..usize::from(len)]].concat();
        start::<1>().leaves(&[&begin, PARAMS, PARAMS_END]);
    }
}

#[test]
fn leaves_unknown_roles() {
    for [high, low] in [[0, 0], [0, 4], [1, 1], [0xff, 0xff]] {
        start::<1>().leaves(&[&with(&with(BEGIN, 8, high), 9, low), PARAMS, PARAMS_END]);
    }
}

#[test]
fn leaves_a_request_with_another_record_in_between() {
    for kind in types_but(4) {
        start::<1>().leaves(&[BEGIN, &as_type(kind, PARAMS), PARAMS_END]);
        start::<1>().leaves(&[BEGIN, PARAMS, &as_type(kind, PARAMS_END)]);
    }
    for id in [0, 2] {
        start::<1>().leaves(&[BEGIN, &of(id, PARAMS), PARAMS_END]);
        start::<1>().leaves(&[BEGIN, PARAMS, &of(id, PARAMS_END)]);
        start::<2>().after(&[&of(2, BEGIN)]).leaves(&[BEGIN, &of(id, PARAMS), PARAMS_END]);
        start::<2>().after(&[&of(2, BEGIN)]).leaves(&[BEGIN, PARAMS, &of(id, PARAMS_END)]);
    }
    for at in 0..3 {
        let mut request = [BEGIN, PARAMS, PARAMS_END].map(<[u8]>::to_vec);
        request[at][0] = 2; // the version
        start::<1>().leaves(&request.each_ref().map(|record| &record[..]));
    }
}

#[test]
fn leaves_empty_params() {
    start::<1>().leaves(&[BEGIN, PARAMS_END]);
    start::<1>().leaves(&[BEGIN, PARAMS_END, PARAMS_END]);
    start::<1>().leaves(&[BEGIN, PARAMS_END, STDIN_END]);
}

#[test]
fn leaves_params_of_several_records() {
    start::<1>().leaves(&[BEGIN, PARAMS, PARAMS, PARAMS_END]);
    start::<1>().leaves(&[BEGIN, PARAMS, b"\x01\x04\0\x01\0\x02\0\0\0\0", PARAMS_END]);
    // The second one ends a pair of the first.
    start::<1>().leaves(&[BEGIN, b"\x01\x04\0\x01\0\x02\0\0\x01\x01", b"\x01\x04\0\x01\0\x02\0\0ab", PARAMS_END]);
}

#[test]
fn leaves_params_that_end_inside_a_pair() {
    for len in (1..11).filter(|&len| len != 5) {
        let params = [b"\x01\x04\0\x01\0", &[len, 0, 0][..], &PARAMS[8..8 + usize::from(len)]].concat();
        start::<1>().leaves(&[BEGIN, &params, PARAMS_END]);
    }
}

#[test]
fn leaves_params_over_a_limit() {
    start::<1>().with_limits(11, 2).takes(&REQUEST, &responder(), 0);
    start::<1>().with_limits(10, 2).leaves(&REQUEST);
    start::<1>().with_limits(11, 1).leaves(&REQUEST);
    start::<1>().with_limits(0, 0).leaves(&REQUEST);
}

#[test]
fn shows_each_pair_in_order() {
    let params = b"\x01\x04\0\x01\0\x13\0\0\0\0\x01\x02abc\0\x01v\x80\0\0\x01\0n\x01\0n";
    let wire = [BEGIN, params, PARAMS_END].concat();
    let mut pairs = Vec::new();
    let got = Session::<1>::new(Config::default()).next_request(&mut &wire[..], |pair| pairs.push(pair));
    assert_eq!(got, Some(opening(1, Role::Responder, 24..43)));
    let pair = |name, value| Pair { name, value };
    assert_eq!(pairs, [pair(b"", b""), pair(b"a", b"bc"), pair(b"", b"v"), pair(b"n", b""), pair(b"n", b"")]);
}

#[test]
fn two_cuts_anywhere_make_no_difference() {
    start::<1>().ending_requests().after(&[BEGIN, PARAMS, PARAMS_END, STDIN, STDIN_END]).at_every_two_cuts();
    start::<1>().after(&[FILTER, PARAMS, PARAMS_END, STDIN_END, DATA]).at_every_two_cuts();
    start::<2>().after(&[&of(2, BEGIN), BEGIN, PARAMS, PARAMS_END, STDIN]).at_every_two_cuts();
}
