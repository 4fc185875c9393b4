//! When a worker that ended may start again.

use std::time::{Duration, Instant};

use crate::fleet::random::Random;

/// How soon an exit 0 has to follow its start to be odd, and how soon a start may follow the last one then.
const QUICK: Duration = Duration::from_secs(1);

/// So many quick exits 0 in a row, and there is a pause.
const QUICK_EXITS: u32 = 3;

/// The numbers of the restart policy, the same for all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A failure before that is an early exit.
    pub(crate) min_life: Duration,
    /// The pause after an early exit.
    pub(crate) delay: Duration,
    /// How many early exits in a row it takes before the pause is doubled each time; `None`: it never is.
    pub(crate) patience: Option<u32>,
    /// Where doubling ends.
    pub(crate) max_delay: Option<Duration>,
    /// With so many early exits in a row there is no next start.
    pub(crate) give_up: Option<u32>,
}

/// What one worker's past means for its future. It reads no clock: who asks brings the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    policy: Policy,
    pub(crate) early_exits: u32,
    pub(crate) quick_exits: u32,
    random: Random,
}

/// What comes after the end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another start, at this time.
    At(Instant, Why),
    /// None: there were too many early exits.
    GiveUp(u32),
}

/// Why a start waits, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    LongLife,
    /// So many in a row.
    EarlyExits(u32),
    /// Exit 0.
    Recycled,
    /// Exits 0, so soon and so often that nothing can have been served.
    QuickExits,
    /// The system had no process, memory or descriptor for it.
    Refused,
}

impl Restart {
    pub(crate) fn new(policy: Policy, random: Random) -> Self {
        Restart { policy, early_exits: 0, quick_exits: 0, random }
    }

    /// A worker that was started at `started` failed: it exited with another status than 0, was killed, or could not be
    /// started at all.
    ///
    /// After an early exit the pause counts from the death, not from the start: a program that needs long to fail is not
    /// tried more often for it.
    pub(crate) fn on_failure(&mut self, started: Instant, now: Instant) -> Next {
        let Policy { min_life, delay, patience, max_delay, give_up } = self.policy;
        self.quick_exits = 0;
        if now.saturating_duration_since(started) >= min_life {
            self.early_exits = 0;
            return Next::At(now, Why::LongLife);
        }
        self.early_exits = self.early_exits.saturating_add(1);
        if give_up.is_some_and(|most| self.early_exits >= most) {
            return Next::GiveUp(self.early_exits);
        }
        let pause = match patience.map_or(0, |patience| self.early_exits.saturating_sub(patience)) {
            0 => delay,
            doublings => {
                let cap = max_delay.unwrap_or(crate::cli::duration::MAX).max(delay);
                let doubled = delay.saturating_mul(2u32.saturating_pow(doublings)).min(cap);
                // Workers that died together do not come back together for ever.
                doubled + doubled.mul_f64(self.random.fraction() / 10.0)
            }
        };
        Next::At(now + pause, Why::EarlyExits(self.early_exits))
    }

    /// The system refused the start for want of a process, memory or descriptors. The program has not failed: nothing is
    /// counted or doubled, and there is always a next start.
    pub(crate) fn on_refusal(&self, now: Instant) -> Next {
        Next::At(now + self.policy.delay.max(QUICK), Why::Refused)
    }

    /// A worker that was started at `started` exited with status 0, as php-cgi does after 500 requests.
    pub(crate) fn on_exit_0(&mut self, started: Instant, now: Instant) -> Next {
        let life = now.saturating_duration_since(started);
        if life >= self.policy.min_life {
            self.early_exits = 0;
        }
        let earliest = (started + QUICK).max(now);
        if life >= QUICK {
            self.quick_exits = 0;
            return Next::At(earliest, Why::Recycled);
        }
        self.quick_exits = self.quick_exits.saturating_add(1);
        if self.quick_exits < QUICK_EXITS {
            return Next::At(earliest, Why::Recycled);
        }
        Next::At((now + self.policy.delay).max(earliest), Why::QuickExits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOD_FASTCGI: Policy = Policy {
        min_life: Duration::from_secs(30),
        delay: Duration::from_secs(5),
        patience: Some(3),
        max_delay: Some(Duration::from_secs(600)),
        give_up: None,
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn restart(policy: Policy) -> Restart {
        Restart::new(policy, Random::new(7))
    }

    /// The pauses after so many lives of this length, each beginning when the pause is over.
    fn pauses(restart: &mut Restart, life: Duration, count: usize) -> Vec<Duration> {
        let mut started = Instant::now();
        let mut pause = || {
            let ended = started + life;
            let Next::At(then, _) = restart.on_failure(started, ended) else { panic!("given up") };
            started = then;
            then - ended
        };
        (0..count).map(|_| pause()).collect()
    }

    #[test]
    fn early_exits_wait_longer_and_longer() {
        let pauses = pauses(&mut restart(MOD_FASTCGI), seconds(1), 14);
        let wanted = [5, 5, 5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600].map(seconds);
        assert_eq!(pauses[..3], wanted[..3]);
        for (pause, wanted) in pauses.iter().zip(wanted).skip(3) {
            assert!(*pause >= wanted && *pause <= wanted + wanted / 10, "{pause:?} {wanted:?}");
        }
        assert!(pauses[3..].iter().zip(wanted.iter().skip(3)).any(|(pause, wanted)| pause != wanted), "no jitter");
    }

    #[test]
    fn a_seed_repeats_the_jitter() {
        let with = |seed| pauses(&mut Restart::new(MOD_FASTCGI, Random::new(seed)), seconds(0), 8);
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
    }

    #[test]
    fn a_long_life_forgives_and_restarts_at_once() {
        let mut restart = restart(MOD_FASTCGI);
        pauses(&mut restart, seconds(29), 6);
        let now = Instant::now();
        assert_eq!(restart.on_failure(now, now + seconds(30)), Next::At(now + seconds(30), Why::LongLife));
        assert_eq!(pauses(&mut restart, seconds(1), 3), [seconds(5); 3]);
    }

    #[test]
    fn every_number_can_be_none() {
        let pauses = |policy, count| pauses(&mut restart(policy), Duration::from_millis(1), count);
        assert_eq!(pauses(Policy { patience: None, ..MOD_FASTCGI }, 20), [seconds(5); 20]);
        assert_eq!(pauses(Policy { delay: Duration::ZERO, ..MOD_FASTCGI }, 20), [Duration::ZERO; 20]);
        assert_eq!(pauses(Policy { min_life: Duration::ZERO, ..MOD_FASTCGI }, 20), [Duration::ZERO; 20]);
        let least = pauses(Policy { max_delay: Some(Duration::ZERO), ..MOD_FASTCGI }, 20);
        assert!(least.iter().all(|pause| *pause >= seconds(5) && *pause <= seconds(6)), "{least:?}");
        let endless = pauses(Policy { max_delay: None, ..MOD_FASTCGI }, 100);
        assert!(endless[99] >= crate::cli::duration::MAX, "{:?}", endless[99]);
        let at_once = pauses(Policy { patience: Some(0), ..MOD_FASTCGI }, 1);
        assert!(at_once[0] >= seconds(10), "{at_once:?}");
    }

    #[test]
    fn it_gives_up_after_so_many_early_exits_in_a_row() {
        let now = Instant::now();
        let mut restart = restart(Policy { give_up: Some(2), ..MOD_FASTCGI });
        assert!(matches!(restart.on_failure(now, now), Next::At(..)));
        assert!(matches!(restart.on_failure(now, now + seconds(30)), Next::At(..)));
        assert!(matches!(restart.on_failure(now, now), Next::At(..)));
        assert_eq!(restart.on_failure(now, now), Next::GiveUp(2));
    }

    #[test]
    fn exit_0_is_recycling() {
        let now = Instant::now();
        let mut restart = restart(MOD_FASTCGI);
        for life in [1, 2, 100] {
            let then = now + seconds(life);
            assert_eq!(restart.on_exit_0(now, then), Next::At(then, Why::Recycled));
        }
        // Not sooner than a second after the last start.
        assert_eq!(restart.on_exit_0(now, now + seconds(1) / 4), Next::At(now + seconds(1), Why::Recycled));
        assert_eq!(restart.early_exits, 0);
    }

    #[test]
    fn three_exits_0_at_once_wait_without_doubling() {
        let now = Instant::now();
        let mut restart = restart(MOD_FASTCGI);
        assert_eq!(restart.on_exit_0(now, now), Next::At(now + seconds(1), Why::Recycled));
        assert_eq!(restart.on_exit_0(now, now), Next::At(now + seconds(1), Why::Recycled));
        for _ in 0..9 {
            assert_eq!(restart.on_exit_0(now, now), Next::At(now + seconds(5), Why::QuickExits));
        }
        let then = now + seconds(1);
        assert_eq!(restart.on_exit_0(now, then), Next::At(then, Why::Recycled));
        assert_eq!(restart.on_exit_0(now, now), Next::At(now + seconds(1), Why::Recycled));
    }

    #[test]
    fn a_short_pause_is_no_way_around_the_second() {
        let now = Instant::now();
        let mut restart = restart(Policy { delay: Duration::from_millis(50), ..MOD_FASTCGI });
        for _ in 0..5 {
            assert!(matches!(restart.on_exit_0(now, now), Next::At(then, _) if then == now + seconds(1)));
        }
    }

    #[test]
    fn early_exits_are_counted_past_exits_0() {
        let now = Instant::now();
        let mut restart = restart(MOD_FASTCGI);
        pauses(&mut restart, seconds(0), 3);
        restart.on_exit_0(now, now + seconds(2));
        assert!(pauses(&mut restart, seconds(0), 1)[0] >= seconds(10));
        restart.on_exit_0(now, now + seconds(30));
        assert_eq!(pauses(&mut restart, seconds(0), 1), [seconds(5)]);
    }

    #[test]
    fn a_refusal_is_no_failure_of_the_program() {
        let now = Instant::now();
        let mut restart = restart(Policy { give_up: Some(3), ..MOD_FASTCGI });
        pauses(&mut restart, seconds(0), 2);
        let before = restart.clone();
        for _ in 0..100 {
            assert_eq!(restart.on_refusal(now), Next::At(now + seconds(5), Why::Refused));
        }
        assert_eq!(restart, before);
        assert_eq!(restart.on_failure(now, now), Next::GiveUp(3));
    }

    #[test]
    fn refusals_do_not_follow_each_other_at_once() {
        let now = Instant::now();
        let restart = restart(Policy { delay: Duration::ZERO, ..MOD_FASTCGI });
        assert_eq!(restart.on_refusal(now), Next::At(now + QUICK, Why::Refused));
    }
}
