use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that all connections together may use for what their peers send, in bytes.
pub(crate) struct Budget {
    left: AtomicUsize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let take = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| Exhausted)
    }
}

/// Bytes that grow within a [`Budget`], to which their memory returns when they are dropped.
pub(crate) struct Bytes<'b> {
    budget: &'b Budget,
    /// Bytes taken from it.
    taken: usize,
    bytes: Vec<u8>,
}

impl<'b> Bytes<'b> {
    pub(crate) const fn new(budget: &'b Budget) -> Self {
        Self { budget, taken: 0, bytes: Vec::new() }
    }

    /// Appends, if the budget has room for the memory that takes.
    pub(crate) fn extend(&mut self, more: &[u8]) -> Result<(), Exhausted> {
        let len = self.bytes.len() + more.len();
        if len > self.taken {
            let want = len.next_power_of_two();
            self.budget.take(want - self.taken)?;
            self.taken = want;
            self.bytes.reserve_exact(want - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_used_again() {
        let budget = Budget::new(1000);
        for _ in 0..3 {
            let mut first = Bytes::new(&budget);
            assert_eq!(first.extend(&[1; 300]), Ok(()));
            let mut second = Bytes::new(&budget);
            assert_eq!(second.extend(&[2; 400]), Err(Exhausted));
            assert_eq!(second.extend(&[2; 200]), Ok(()));
            assert_eq!((first.as_slice(), second.as_slice()), (&[1; 300][..], &[2; 200][..]));
        }
        assert_eq!(budget.left.load(Ordering::Relaxed), 1000);
    }
}
