//! Pieces of bodies that `next_contents` takes, and inputs that differ from them in one condition.

use crate::at::{
    AUTHORIZER, At, BEGIN, DATA, DATA_END, FILTER, PARAMS, PARAMS_END, REQUEST, STDIN, STDIN_END, as_type, of, padded,
    start, types_but, with,
};

/// In the body of a Responder.
fn in_stdin() -> At<1> {
    start().after(&[BEGIN, PARAMS, PARAMS_END])
}

/// In the data of a Filter.
fn in_data() -> At<1> {
    start().after(&[FILTER, PARAMS, PARAMS_END, STDIN_END])
}

#[test]
fn takes_pieces_of_the_open_stream() {
    in_stdin().takes_contents(&[STDIN], &[b"body"], 0);
    in_stdin().takes_contents(&[STDIN, &padded(STDIN), STDIN, STDIN_END], &[b"body", b"body", b"body"], 8);
    in_stdin().takes_contents(&[STDIN, &STDIN[..10]], &[b"body", b"bo"], 0);
    in_data().takes_contents(&[DATA, DATA, DATA_END], &[b"da", b"da"], 8);
    start::<1>().after(&[FILTER, PARAMS, PARAMS_END]).takes_contents(&[STDIN, STDIN_END, DATA], &[b"body"], 18);
}

#[test]
fn goes_on_with_a_record_that_was_cut() {
    for cut in 8..12 {
        let at = start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, &STDIN[..cut]]);
        at.takes_contents(&[&STDIN[cut..], STDIN], &[&STDIN[cut..], b"body"], 0);
        at.takes_contents(&[&STDIN[cut..], STDIN_END], &[&STDIN[cut..]], 8);
        at.takes_contents(&[&STDIN[cut..cut + 1]], &[&STDIN[cut..cut + 1]], 0);
        at.takes_contents(&[], &[], 0);
    }
    for cut in 1..8 {
        let at = start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, &STDIN[..cut]]);
        at.takes_contents(&[&STDIN[cut..], STDIN], &[], 24 - cut);
    }
    let at = start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, &padded(STDIN)[..14]]);
    at.takes_contents(&[&STDIN_END[2..], STDIN], &[b"body"], 0);
    at.takes_contents(&[&STDIN_END[2..7]], &[], 5);
}

#[test]
fn leaves_a_record_whose_header_or_padding_is_cut() {
    for cut in 0..8 {
        in_stdin().takes_contents(&[STDIN, &STDIN[..cut]], &[b"body"], cut);
    }
    in_stdin().takes_contents(&[STDIN, &STDIN[..8]], &[b"body"], 8);
    in_stdin().takes_contents(&[&padded(STDIN)[..15]], &[b"body"], 3);
}

#[test]
fn leaves_the_end_of_a_stream() {
    in_stdin().takes_contents(&[STDIN_END], &[], 8);
    in_stdin().takes_contents(&[STDIN_END, STDIN], &[], 20);
    in_data().takes_contents(&[DATA_END], &[], 8);
    in_data().takes_contents(&[DATA_END, DATA], &[], 18);
}

#[test]
fn leaves_records_of_other_types_and_requests() {
    for kind in types_but(5) {
        let other = as_type(kind, STDIN);
        in_stdin().takes_contents(&[&other, STDIN], &[], 24);
        in_stdin().takes_contents(&[STDIN, &other, STDIN], &[b"body"], 24);
        in_stdin().takes_contents(&[STDIN, &other[..10]], &[b"body"], 10);
        let cut = start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, &other[..10]]);
        cut.takes_contents(&[b"dy", STDIN], &[], 14);
    }
    for id in [0, 2] {
        let other = of(id, STDIN);
        in_stdin().takes_contents(&[&other, STDIN], &[], 24);
        in_stdin().takes_contents(&[STDIN, &other, STDIN], &[b"body"], 24);
        in_stdin().takes_contents(&[STDIN, &other[..10]], &[b"body"], 10);
        let cut = start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, &other[..10]]);
        cut.takes_contents(&[b"dy", STDIN], &[], 14);
    }
    in_data().takes_contents(&[STDIN], &[], 12);
    in_stdin().takes_contents(&[&with(STDIN, 0, 2)], &[], 12);
}

#[test]
fn leaves_bodies_of_requests_without_an_open_stream() {
    start::<1>().takes_contents(&[STDIN], &[], 12);
    start::<1>().after(&[BEGIN, PARAMS]).takes_contents(&[STDIN], &[], 12);
    start::<1>().after(&REQUEST).takes_contents(&[STDIN], &[], 12);
    start::<1>().after(&[AUTHORIZER, PARAMS, PARAMS_END]).takes_contents(&[STDIN], &[], 12);
    start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, b"\x01\x02\0\x01\0\0\0\0"]).takes_contents(&[STDIN], &[], 12);
    start::<1>().ending_requests().after(&REQUEST).takes_contents(&[STDIN], &[], 12);
}

#[test]
fn stops_when_the_caller_has_no_room_for_more() {
    for before in [&STDIN[..0], &STDIN[..9]] {
        let wire = [STDIN, STDIN, STDIN, &STDIN[..10]].concat();
        let input = &wire[before.len()..];
        for room in 1..=4 {
            let mut session = start::<1>().after(&[BEGIN, PARAMS, PARAMS_END, before]).session();
            let (mut rest, mut pieces) = (input, Vec::new());
            session.next_contents(1, &mut rest, |piece| {
                pieces.push(piece);
                pieces.len() < room
            });
            assert_eq!(pieces.len(), room);
            assert_eq!(input.len() - rest.len(), pieces[room - 1].end);
        }
    }
}

#[test]
fn bodies_of_two_requests_are_kept_apart() {
    let at = start::<2>().after(&[BEGIN, &of(2, FILTER), PARAMS_END, &of(2, PARAMS_END), &of(2, STDIN_END)]);
    at.takes_contents(&[STDIN, &of(2, DATA), STDIN], &[b"body"], 22);
    at.takes_contents(&[&of(2, DATA), STDIN], &[], 22);
}
