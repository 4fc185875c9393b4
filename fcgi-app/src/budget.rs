use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Memory that all connections together may use for what their peers send, in bytes.
pub(crate) struct Budget {
    bytes: usize,
    left: AtomicUsize,
    /// A body buffer that is not in use, kept for the next body.
    spare: Mutex<Option<Box<[u8]>>>,
    /// Memory of params that is not in use, kept for the next ones that take as much.
    spare_bytes: Mutex<Vec<u8>>,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self { bytes, left: AtomicUsize::new(bytes), spare: Mutex::new(None), spare_bytes: Mutex::new(Vec::new()) }
    }

    /// What is left of it.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes bytes, if so many and `reserve` more are left.
    fn take(&self, bytes: usize, reserve: usize) -> Result<(), Exhausted> {
        let take = |left: usize| left.checked_sub(bytes).filter(|&left| left >= reserve);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| Exhausted)
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A large buffer for a body to flow through, given back to its [`Budget`] when it is dropped.
pub(crate) struct BodyBuffer<'b> {
    budget: &'b Budget,
    bytes: Box<[u8]>,
}

impl<'b> BodyBuffer<'b> {
    /// As much as a unix socket holds, and some more.
    const LEN: usize = 256 << 10;

    /// A buffer; half of the budget is left to params, without which a request cannot go on at all.
    pub(crate) fn take(budget: &'b Budget) -> Result<Self, Exhausted> {
        budget.take(Self::LEN, budget.bytes / 2)?;
        let spare = budget.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Self { budget, bytes: spare.unwrap_or_else(|| vec![0; Self::LEN].into()) })
    }
}

impl Deref for BodyBuffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for BodyBuffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for BodyBuffer<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        *self.budget.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
        self.budget.give_back(Self::LEN);
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
        self.budget.take(bytes.saturating_sub(self.taken), 0)?;
        self.taken = self.taken.max(bytes);
        Ok(())
    }

    /// Gives all of it back.
    pub(crate) fn release(&mut self) {
        self.budget.give_back(self.taken);
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
    /// The most that is kept when it is not in use.
    const SPARE: usize = 64 << 10;

    pub(crate) const fn new(budget: &'b Budget) -> Self {
        Self { memory: Share::new(budget), bytes: Vec::new() }
    }

    /// Appends, if the budget has room for the memory that takes.
    pub(crate) fn extend(&mut self, more: &[u8]) -> Result<(), Exhausted> {
        let len = self.bytes.len() + more.len();
        if len > self.memory.taken() {
            self.memory.grow_to(len.next_power_of_two())?;
            if self.bytes.capacity() == 0 {
                self.bytes = self.take_spare();
            }
            self.bytes.reserve_exact(self.memory.taken() - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The spare memory, if it is no more than was taken of the budget.
    fn take_spare(&self) -> Vec<u8> {
        let mut spare = self.memory.budget.spare_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.capacity() <= self.memory.taken() { std::mem::take(&mut *spare) } else { Vec::new() }
    }
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        if (1..=Self::SPARE).contains(&self.bytes.capacity()) {
            self.bytes.clear();
            let mut spare = self.memory.budget.spare_bytes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *spare, &mut self.bytes);
        }
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

    #[test]
    fn bodies_leave_half_to_params() {
        let budget = Budget::new(4 * BodyBuffer::LEN);
        let mut params = Bytes::new(&budget);
        let first = BodyBuffer::take(&budget).expect("a quarter");
        let second = BodyBuffer::take(&budget).expect("another");
        assert_eq!(BodyBuffer::take(&budget).err(), Some(Exhausted));
        drop(first);
        let third = BodyBuffer::take(&budget).expect("the first one again");
        assert_eq!(params.extend(&vec![1; 2 * BodyBuffer::LEN]), Ok(()));
        drop((second, third, params));
        assert_eq!(budget.left.load(Ordering::Relaxed), 4 * BodyBuffer::LEN);
    }
}
