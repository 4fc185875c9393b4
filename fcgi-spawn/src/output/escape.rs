//! Control characters made visible, so that a line stays one line and a terminal is not driven.

/// Appends `text` to `line` with each byte of a control character but tab as `\x1b`, up to `room` bytes; returns how
/// many bytes of `text` found room.
///
/// Control characters are those of ASCII, DEL, and U+0080 to U+009F, in UTF-8 or as single bytes. Other bytes that are
/// not UTF-8 stay as they are: they may be Latin-1.
pub(crate) fn push(line: &mut Vec<u8>, text: &[u8], room: usize) -> usize {
    let end = line.len() + room;
    let mut taken = 0;
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            let bytes = &text[taken..taken + char.len_utf8()];
            if !append(line, bytes, char.is_control() && char != '\t', end) {
                return taken;
            }
            taken += bytes.len();
        }
        for byte in chunk.invalid() {
            if !append(line, &[*byte], *byte < 0xa0, end) {
                return taken;
            }
            taken += 1;
        }
    }
    taken
}

/// Appends all of these bytes, or none if `line` would end behind `end`.
fn append(line: &mut Vec<u8>, bytes: &[u8], is_control: bool, end: usize) -> bool {
    let len = if is_control { r"\x00".len() * bytes.len() } else { bytes.len() };
    if line.len() + len > end {
        return false;
    }
    match is_control {
        true => bytes.iter().for_each(|byte| line.extend_from_slice(format!(r"\x{byte:02x}").as_bytes())),
        false => line.extend_from_slice(bytes),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], shown: &[u8]) {
        let mut line = b"> ".to_vec();
        assert_eq!(push(&mut line, text, 1000), text.len());
        assert_eq!(&line[2..], shown, "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn text_stays_as_it_is() {
        check(b"", b"");
        check(
            "plain, t\tab, \\ and \u{e9}\u{20ac}\u{1f600}\u{a0}".as_bytes(),
            "plain, t\tab, \\ and \u{e9}\u{20ac}\u{1f600}\u{a0}".as_bytes(),
        );
        check(b"Latin-1: \xe9\xa0\xff", b"Latin-1: \xe9\xa0\xff");
    }

    #[test]
    fn control_characters_are_escaped() {
        check(b"\x00\x1b[2J\x07\r\n\x7f", br"\x00\x1b[2J\x07\x0d\x0a\x7f");
        check("\u{80}\u{9b}\u{9f}".as_bytes(), br"\xc2\x80\xc2\x9b\xc2\x9f");
        check(b"\x80\x9b1m\x9f", br"\x80\x9b1m\x9f");
        // What is cut from a longer character is not UTF-8.
        check(b"\xe2\x82 \xf0\x9f\x98", b"\xe2\\x82 \xf0\\x9f\\x98");
    }

    #[test]
    fn result_has_no_control_characters() {
        let bytes: Vec<u8> =
            (0..=255).flat_map(|first| (0..=255).flat_map(move |second| [first, second, b' '])).collect();
        let mut line = Vec::new();
        assert_eq!(push(&mut line, &bytes, usize::MAX / 2), bytes.len());
        for chunk in line.utf8_chunks() {
            assert!(chunk.valid().chars().all(|char| char == '\t' || !char.is_control()));
            assert!(chunk.invalid().iter().all(|byte| *byte >= 0xa0));
        }
    }

    #[test]
    fn length_is_bounded_and_characters_stay_whole() {
        let check = |text: &[u8], room, taken, shown: &[u8]| {
            let mut line = b"> ".to_vec();
            assert_eq!((push(&mut line, text, room), &line[2..]), (taken, shown));
        };
        check(b"abc", 2, 2, b"ab");
        check("a\u{20ac}".as_bytes(), 3, 1, b"a");
        check("a\u{20ac}".as_bytes(), 4, 4, "a\u{20ac}".as_bytes());
        check(b"a\x1bb", 4, 1, b"a");
        check(b"a\x1bb", 5, 2, br"a\x1b");
        check("\u{9b}".as_bytes(), 7, 0, b"");
        check("\u{9b}".as_bytes(), 8, 2, br"\xc2\x9b");
    }
}
