//! Many requests at once on a connection, in an order that a generator makes up.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{Client, KEEP};
use crate::wire::{Answer, Answers, begin, params, record};
use crate::{OK, WAIT};

/// A generator that says the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// What is still to be sent of a request, and what its answer is to be.
struct Pending {
    records: Vec<Vec<u8>>,
    want: Option<Vec<u8>>,
}

impl Pending {
    fn new(id: u16, number: usize, random: &mut Random) -> Self {
        let name = number.to_string();
        let mut pairs = vec![("NAME", &name[..])];
        let is_early = random.below(8) == 0;
        if is_early {
            pairs.push(("DO", "early"));
        }
        let params = &params(id, &pairs)[8..];
        let body: Vec<u8> = (0..[0, 10, 3000, 70_000][random.below(4)]).map(|n: usize| (n % 251) as u8).collect();
        let mut records = vec![begin(id, 1, KEEP)];
        let cut = random.below(params.len() + 1);
        records.extend([&params[..cut], &params[cut..]].iter().filter(|p| !p.is_empty()).map(|p| record(4, id, p)));
        records.push(record(4, id, b""));
        records.extend(body.chunks(1 + random.below(20_000)).map(|piece| record(5, id, piece)));
        let mut want = Some(if is_early { name.clone().into_bytes() } else { [name.as_bytes(), b"=", &body].concat() });
        if random.below(10) == 0 {
            records.truncate(1 + random.below(records.len()));
            records.push(record(2, id, b""));
            want = None;
        } else {
            records.push(record(5, id, b""));
        }
        records.reverse();
        Self { records, want }
    }
}

/// Short requests on a connection, up to 64 at once, records in any order, ids used again as soon as they are free.
pub(super) fn exchange_at_random(mut client: Client, seed: u64, requests: usize) {
    let mut random = Random(seed);
    let width = 1 + random.below(64);
    let mut reader = Client(client.0.try_clone().expect("another handle"));
    let (told, ended) = mpsc::channel::<Answer>();
    let reading = thread::spawn(move || {
        let mut answers = Answers::default();
        (0..requests).for_each(|_| told.send(answers.next(&mut reader)).expect("somebody listens"));
    });
    let mut free: Vec<u16> = (1..=width as u16).collect();
    let mut pending: HashMap<u16, Pending> = HashMap::new();
    let (mut begun, mut done) = (0, 0);
    while done < requests {
        while begun < requests && !free.is_empty() && random.below(3) > 0 {
            let id = free.swap_remove(random.below(free.len()));
            pending.insert(id, Pending::new(id, begun, &mut random));
            begun += 1;
        }
        let mut ids: Vec<u16> = pending.iter().filter(|(_, one)| !one.records.is_empty()).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let mut bytes = Vec::new();
        if !ids.is_empty() {
            for _ in 0..1 + random.below(8) {
                let id = ids[random.below(ids.len())];
                bytes.extend(pending.get_mut(&id).and_then(|one| one.records.pop()).unwrap_or_default());
            }
        }
        let cut = random.below(bytes.len() + 1);
        client.send(&bytes[..cut]);
        client.send(&bytes[cut..]);
        let is_stuck = ids.is_empty() && (free.is_empty() || begun == requests);
        let wait = if is_stuck { WAIT } else { Duration::ZERO };
        let mut next = ended.recv_timeout(wait);
        assert!(next.is_ok() || !is_stuck, "seed {seed}: no answer, {done} of {requests}");
        while let Ok(answer) = next {
            let one = pending.remove(&answer.id).expect("it is under way");
            match one.want {
                Some(want) => {
                    assert!(answer.stdout.ends_with(&want) && answer.end == OK, "seed {seed}: {}", answer.id);
                    // The rest of an early one's body would be skipped, but as many servers would, we end it.
                    one.records.iter().rev().for_each(|record| client.send(record));
                }
                None => assert!(answer.end[..3] == [0; 3] && answer.end[4..] == [0; 4], "seed {seed}: {answer:?}"),
            }
            free.push(answer.id);
            done += 1;
            next = ended.try_recv().map_err(|_| mpsc::RecvTimeoutError::Timeout);
        }
    }
    reading.join().expect("no panic");
}
