use super::wire::{Cuts, Part, Wire, assert_borrowed};
use fcgi_proto::{Decoder, Fragment, ProtocolError};

/// `Decoder`: two bytes say where to cut, the others are the stream.
///
/// Whatever the cuts, the fragments are the records of the stream byte for byte, of the caller's memory, as large as
/// the input allows; the first and the last of a record say so; the version is looked at as soon as it is there.
pub fn decoder(data: &[u8]) {
    let Some((&cuts, stream)) = data.split_first_chunk() else { return };
    for cuts in [Cuts::WHOLE, Cuts::BYTES, Cuts(cuts)] {
        decode(stream, cuts);
    }
}

fn decode(stream: &[u8], cuts: Cuts) {
    let (mut decoder, mut reference) = (Decoder::new(), Wire::new());
    for mut input in cuts.pieces(stream) {
        loop {
            let before = input;
            let got = decoder.next(&mut input);
            let used = &before[..before.len() - input.len()];
            let want = expect(&mut reference, used);
            assert_eq!(got, want);
            match got {
                Ok(Some(fragment)) => {
                    assert_borrowed(fragment.content, want.ok().flatten().map_or(&[], |want| want.content));
                    assert_eq!(fragment.content.is_empty(), fragment.header.content == 0);
                    assert!(fragment.last || input.is_empty(), "there was more of it");
                    assert_eq!(decoder.end_of_input(), reference.end_of_input());
                }
                Ok(None) => break assert!(input.is_empty()),
                Err(error) => {
                    assert_eq!(decoder.next(&mut input), Err(error));
                    assert_eq!(decoder.end_of_input(), Err(error));
                    return;
                }
            }
        }
        assert_eq!(decoder.end_of_input(), reference.end_of_input());
    }
}

/// What a call that consumed `used` has to give.
fn expect<'a>(reference: &mut Wire, used: &'a [u8]) -> Result<Option<Fragment<'a>>, ProtocolError> {
    let mut want = None;
    let mut start = 0;
    for (at, &byte) in used.iter().enumerate() {
        let part = reference.read(byte).inspect_err(|error| assert_eq!(want, None, "swallowed before {error}"))?;
        match (part, &mut want) {
            (Part::Between, None) => {}
            (Part::Empty(header), None) => {
                want = Some(Fragment { header, content: &[], first: true, last: true });
            }
            (Part::Content { header, first, last }, None) => {
                start = at;
                want = Some(Fragment { header, content: &used[at..=at], first, last });
            }
            (Part::Content { first: false, last, .. }, Some(want)) => {
                want.content = &used[start..=at];
                want.last = last;
            }
            (_, Some(want)) => panic!("consumed beyond {want:?}"),
        }
    }
    Ok(want)
}
