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

    /// What is left of it.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let take = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| Exhausted)
    }
}

/// Memory taken from a [`Budget`], to which it returns when this is dropped.
pub(crate) struct Share<'b> {
    budget: &'b Budget,
    taken: usize,
}

impl<'b> Share<'b> {
    pub(crate) const fn new(budget: &'b Budget) -> Self {
        Self { budget, taken: 0 }
    }

    /// How many bytes it is.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes what lacks of so many bytes.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.budget.take(bytes.saturating_sub(self.taken))?;
        self.taken = self.taken.max(bytes);
        Ok(())
    }

    /// Gives all of it back.
    pub(crate) fn release(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
        self.taken = 0;
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes that grow within a [`Budget`], to which their memory returns when they are dropped.
pub(crate) struct Bytes<'b> {
    memory: Share<'b>,
    bytes: Vec<u8>,
}

impl<'b> Bytes<'b> {
    pub(crate) const fn new(budget: &'b Budget) -> Self {
        Self { memory: Share::new(budget), bytes: Vec::new() }
    }

    /// Appends, if the budget has room for the memory that takes.
    pub(crate) fn extend(&mut self, more: &[u8]) -> Result<(), Exhausted> {
        let len = self.bytes.len() + more.len();
        if len > self.memory.taken() {
            self.memory.grow_to(len.next_power_of_two())?;
            self.bytes.reserve_exact(self.memory.taken() - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
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
        assert_eq!(budget.left(), 1000);
    }
}
