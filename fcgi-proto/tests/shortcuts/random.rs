//! Random streams, valid and broken, on both paths.

use std::panic::{catch_unwind, resume_unwind};

use fcgi_proto::Config;

use crate::both::{IDS, Outcome, Setup, Stream};

/// A generator of the same numbers in every run: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, at_most: usize) -> Vec<u8> {
        (0..self.below(at_most + 1)).map(|_| self.next() as u8).collect()
    }

    /// Writes a record, usually of this type and request.
    fn record(&mut self, wire: &mut Vec<u8>, kind: u8, id: u16, content: &[u8]) {
        let kind = if self.one_in(100) { self.below(13) as u8 } else { kind };
        let id = if self.one_in(100) { self.one_of(&IDS) } else { id };
        let version = if self.one_in(500) { self.next() as u8 } else { 1 };
        let padding = if self.one_in(3) { self.below(12) } else { 0 };
        let [id1, id0] = id.to_be_bytes();
        wire.extend([version, kind, id1, id0, 0, content.len() as u8, padding as u8, self.next() as u8]);
        wire.extend(content);
        // Padding that looks like a record.
        wire.extend([1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0].iter().take(padding));
    }

    /// Name-value pairs, sometimes cut.
    fn params(&mut self) -> Vec<u8> {
        let mut params = Vec::new();
        for _ in 0..self.one_of(&[0, 1, 1, 2, 2, 3]) {
            let (name, value) = (self.bytes(3), self.bytes(5));
            for len in [name.len(), value.len()] {
                let len = len as u8;
                if self.one_in(10) { params.extend([0x80, 0, 0, len]) } else { params.push(len) }
            }
            params.extend(name);
            params.extend(value);
        }
        if self.one_in(20) {
            params.truncate(self.below(params.len() + 1));
        }
        params
    }

    /// Writes the records of a request, sometimes with one missing, doubled or wrong.
    fn request(&mut self, wire: &mut Vec<u8>) {
        let id = if self.one_in(3) { self.one_of(&IDS) } else { 1 };
        let role = if self.one_in(4) { self.one_of(&[0, 2, 3, 3, 4]) } else { 1 };
        let role1 = u8::from(self.one_in(60));
        let flags = if self.one_in(20) { self.next() as u8 } else { 1 };
        let body = [role1, role, flags, 0, 0, 0, 0, 0, 0];
        let body = if self.one_in(40) { &body[..self.below(10)] } else { &body[..8] };
        self.record(wire, 1, id, body);
        for _ in 0..self.one_of(&[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2]) {
            let params = self.params();
            self.record(wire, 4, id, &params);
        }
        for (kind, is_sent) in [(4, !self.one_in(30)), (5, !self.one_in(10)), (8, role == 3)] {
            if is_sent {
                for _ in 0..if kind == 4 { 0 } else { self.below(4) } {
                    let content = self.bytes(20);
                    self.record(wire, kind, id, &content);
                }
                self.record(wire, kind, id, b"");
            }
        }
    }

    fn stream(&mut self) -> Stream {
        let mut wire = Vec::new();
        for _ in 0..1 + self.below(4) {
            match self.below(8) {
                0 => {
                    let (kind, id, content) = (self.below(13) as u8, self.one_of(&IDS), self.bytes(20));
                    self.record(&mut wire, kind, id, &content);
                }
                _ => self.request(&mut wire),
            }
        }
        if self.one_in(4) {
            wire.truncate(self.below(wire.len()));
        }
        let mut ends: Vec<_> =
            (0..self.one_of(&[0, 0, 0, 1, 2])).map(|_| (self.below(wire.len() + 1), self.one_of(&IDS))).collect();
        ends.sort_unstable();
        Stream { wire, ends }
    }
}

/// Reads one random stream whole and in pieces; returns how many requests and pieces of bodies the shortcuts took.
fn check<const N: usize>(random: &mut Random) -> (usize, usize) {
    let stream = random.stream();
    let config = Config {
        max_params_len: if random.one_in(6) { random.below(20) as u32 } else { 1 << 20 },
        max_pairs: if random.one_in(6) { random.below(4) as u32 } else { 16384 },
        max_conns: 1,
        max_reqs: 1,
    };
    let setup = Setup { config, ends_requests: !random.one_in(3), room: random.one_of(&[1, 2, 3, usize::MAX]) };
    let want = Outcome::of::<N>(&stream, setup);
    let whole = want.check::<N>(&stream, setup, []);
    for at_most in [20, 60, stream.wire.len() + 1] {
        let sizes: Vec<_> = (0..).map(|_| random.below(at_most + 1)).take(stream.wire.len()).collect();
        want.check::<N>(&stream, setup, sizes);
    }
    (whole.requests, whole.pieces)
}

#[test]
fn random_streams_have_the_same_outcome_on_both_paths() {
    let (mut requests, mut pieces) = (0, 0);
    for seed in 0..2000 {
        let one = catch_unwind(|| match seed % 3 {
            0 => check::<1>(&mut Random(seed)),
            1 => check::<2>(&mut Random(seed)),
            _ => check::<3>(&mut Random(seed)),
        });
        let (some, more) = one.unwrap_or_else(|panic| {
            eprintln!("seed {seed}: {}", Random(seed).stream().wire.escape_ascii());
            resume_unwind(panic)
        });
        requests += some;
        pieces += more;
    }
    assert!(requests > 500 && pieces > 1000, "the shortcuts took {requests} requests and {pieces} pieces of bodies");
}
