//! A response on its way into records.

use std::io::{self, ErrorKind, IoSlice};

use fcgi_proto::{EndRequest, Header, ProtocolStatus, RecordType};

use super::status::{has_body, reason};
use super::{FRONT, Head, Length, Response};
use crate::error_log::Lines;
use crate::wire::Ended;

/// The largest content of an output record: a multiple of 8, so that none needs padding.
const MAX_CONTENT: u16 = 65528;

impl Response<'_> {
    /// Sends what is left and the end of the request, in one write; nothing if that was done before.
    pub(crate) fn end(&mut self) -> io::Result<Ended> {
        if self.is_over() {
            return Ok(Ended::Before);
        }
        let is_wanted = self.output.may_send();
        let is_broken = self.is_aborted && self.is_sent() && self.is_owed() && is_wanted;
        let lines = if is_wanted { self.log.take() } else { Lines::default() };
        let end = EndRequest { app_status: self.app_status, protocol_status: ProtocolStatus::RequestComplete };
        let mut tail = [0; 32];
        tail[..8].copy_from_slice(&Header::new(RecordType::Stderr, self.id, 0).encode());
        tail[8..16].copy_from_slice(&Header::new(RecordType::Stdout, self.id, 0).encode());
        tail[16..].copy_from_slice(&end.record(self.id));
        if is_broken {
            return self.break_off(lines, &tail[..8], &tail[16..]);
        }
        let tail = if self.log.is_open() { &tail[..] } else { &tail[8..] };
        if !is_wanted {
            // Aborted: all that is still wanted is the end. Lost: the write says so.
            return self.write_records(tail, true).map(|()| Ended::Orderly);
        }
        if self.head == Head::Open {
            self.complete_head();
        }
        // The length of a body that was not written for HEAD is not known.
        let is_counted = self.head != Head::Sent && self.length == Length::Counted;
        let is_known = is_counted && has_body(self.status) && !(self.is_head && self.body_len == 0);
        let length = is_known.then_some(self.body_len);
        let sent = match lines.is_empty() {
            true => self.send(length, &[], tail),
            false => self.send(length, &[], &[&lines.records(self.id), tail].concat()),
        };
        sent.map(|()| Ended::Orderly).inspect_err(|_| lines.spill())
    }

    /// Ends a response of which part was sent so that it cannot pass for a whole one: in one write the rest of STDOUT, the
    /// lines for the error log with the end of theirs, and no end of STDOUT.
    ///
    /// HAProxy 2.6.12 dies if a read ends with a STDERR record that has content: the empty one is always there.
    #[cold]
    #[inline(never)]
    fn break_off(&mut self, lines: Lines, end_of_stderr: &[u8], end: &[u8]) -> io::Result<Ended> {
        let content = u16::try_from(self.buffer.len() - FRONT).expect("the buffer is smaller than a record");
        let mut records = Vec::new();
        if content > 0 {
            records.extend(Header::new(RecordType::Stdout, self.id, content).encode());
            records.extend_from_slice(&self.buffer[FRONT..]);
        }
        self.buffer.truncate(FRONT);
        records.extend(lines.records(self.id));
        records.extend_from_slice(end_of_stderr);
        self.output.break_off(records, end).inspect_err(|_| lines.spill())
    }

    /// Sends the buffer, then `body`, as STDOUT records, then the records `tail`.
    pub(super) fn send(&mut self, length: Option<u64>, body: &[IoSlice<'_>], tail: &[u8]) -> io::Result<()> {
        if !self.output.may_answer() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a Filter answers after the end of the request's body",
            ));
        }
        let mut start = FRONT;
        if self.head != Head::Sent {
            if !has_body(self.status) {
                // What was written before the status was set.
                self.buffer.truncate(self.body_at);
            }
            start = self.put_front(start, length);
            self.head = Head::Sent;
        }
        let content = self.buffer.len() - start + body.iter().map(|piece| piece.len()).sum::<usize>();
        let is_end = !tail.is_empty();
        let sent = match u16::try_from(content) {
            Ok(0) => self.write_records(tail, is_end),
            Ok(len @ ..=MAX_CONTENT) if body.is_empty() => {
                self.put_header(start, len);
                self.buffer.extend_from_slice(tail);
                self.write_records(&self.buffer[start - Header::LEN..], is_end)
            }
            _ => self.send_records(start, content, body, tail),
        };
        self.buffer.truncate(FRONT);
        sent
    }

    /// The general case of [`send`](Self::send): `content` bytes in as many records and pieces as it takes, uncopied.
    #[inline(never)] // and so off the stack of small answers
    fn send_records(&self, start: usize, content: usize, body: &[IoSlice<'_>], tail: &[u8]) -> io::Result<()> {
        /// Slices for one call: enough for 16 MiB, and below the 1024 that Linux takes.
        const SLICES: usize = 520;
        let header = |len| Header::new(RecordType::Stdout, self.id, len).encode();
        // All records are full but the last one.
        let (full, last) = (header(MAX_CONTENT), header((content % usize::from(MAX_CONTENT)) as u16));
        let most = (2 * (content / usize::from(MAX_CONTENT)) + body.len() + 4).min(SLICES);
        let (mut few, mut many) = ([IoSlice::new(&[]); 32], Vec::new());
        let slices = if most > few.len() {
            many.resize(most, IoSlice::new(&[]));
            &mut many[..]
        } else {
            &mut few[..most]
        };
        let is_shared = self.output.is_shared();
        let (mut count, mut left, mut record_left) = (0, content, 0);
        for piece in [&self.buffer[start..]].into_iter().chain(body.iter().map(|piece| &**piece)) {
            let mut piece = piece;
            while !piece.is_empty() {
                if record_left == 0 {
                    // Whole records leave: another answer may go out between two calls.
                    if (is_shared && count > 0) || count + body.len() + 3 > SLICES {
                        self.output.send(&mut slices[..count], false)?;
                        count = 0;
                    }
                    record_left = left.min(MAX_CONTENT.into());
                    slices[count] = IoSlice::new(if record_left == usize::from(MAX_CONTENT) { &full } else { &last });
                    count += 1;
                }
                let (now, later) = piece.split_at(piece.len().min(record_left));
                slices[count] = IoSlice::new(now);
                count += 1;
                record_left -= now.len();
                left -= now.len();
                piece = later;
            }
        }
        slices[count] = IoSlice::new(tail);
        self.output.send(&mut slices[..=count], !tail.is_empty())
    }

    /// Sends records that are encoded already.
    fn write_records(&self, records: &[u8], is_end: bool) -> io::Result<()> {
        self.output.send(&mut [IoSlice::new(records)], is_end)
    }

    /// Writes the lines that belong in front of the header section, the last first, and gives where they begin.
    fn put_front(&mut self, end: usize, length: Option<u64>) -> usize {
        let mut start = end;
        if let Some(reason) = &self.reason {
            // Of any length, and seldom.
            let line = format!("Status: {} {reason}\r\n", self.status);
            self.buffer.splice(start..start, line.into_bytes());
        }
        // The longest status line and the longest length fit: 45 and 38 bytes of 88.
        let mut prepend = |bytes: &[u8]| {
            self.buffer[start - bytes.len()..start].copy_from_slice(bytes);
            start -= bytes.len();
        };
        if let Some(length) = length {
            prepend(b"\r\n");
            prepend(decimal(length, &mut [0; 20]));
            prepend(b"Content-Length: ");
        }
        if self.reason.is_some() {
        } else if self.status == 200 {
            prepend(b"Status: 200 OK\r\n");
        } else {
            prepend(b"\r\n");
            prepend(reason(self.status).as_bytes());
            prepend(b" ");
            prepend(decimal(self.status.into(), &mut [0; 20]));
            prepend(b"Status: ");
        }
        start
    }

    fn put_header(&mut self, start: usize, content: u16) {
        let header = Header::new(RecordType::Stdout, self.id, content).encode();
        self.buffer[start - Header::LEN..start].copy_from_slice(&header);
    }
}

/// The digits of a number. By hand: the standard formatting of both lines costs an answer 700 instructions more.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for number in [0, 7, 10, 200, 1 << 32, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn the_longest_lines_fit_the_front() {
        let longest = (0..=999).map(|status| reason(status).len()).max().expect("some");
        assert!("Status: 999 \r\n".len() + longest + "Content-Length: \r\n".len() + 20 <= FRONT - Header::LEN);
    }
}
