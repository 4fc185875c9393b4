//! Memory that is asked for again when the system refuses it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::thread;
use std::time::Duration;

/// The system's allocator for a program that has to go on: where memory is refused it is asked for again, at once and then
/// for a second. Only when there is none then does the program end, as every Rust program does.
///
/// The launcher has it by `#[global_allocator]`, and so can another program that runs a [`Supervisor`](crate::Supervisor).
/// With musl each refusal of the kernel is one of the allocator; glibc tries another way first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

/// How often memory is asked for, after pauses that become longer.
const TRIES: u32 = 14;
const PAUSE: Duration = Duration::from_millis(10);

// SAFETY: all memory is the system allocator's, to which every call goes as it came.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        patiently(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        patiently(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises; what is refused leaves the memory as it was.
        patiently(|| unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) };
    }
}

fn patiently(mut ask: impl FnMut() -> *mut u8) -> *mut u8 {
    let mut memory = ask();
    for pause in 0..TRIES {
        if !memory.is_null() {
            break;
        }
        thread::sleep(PAUSE * pause);
        memory = ask();
    }
    memory
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn a_refusal_is_not_the_end() {
        let mut byte = 0_u8;
        let memory = &raw mut byte;
        for refusals in 0..4 {
            let mut asked = 0;
            let given = patiently(|| {
                asked += 1;
                if asked > refusals { memory } else { ptr::null_mut() }
            });
            assert_eq!((given, asked), (memory, refusals + 1));
        }
    }

    #[test]
    fn it_is_not_asked_for_ever() {
        let mut asked = 0;
        let given = patiently(|| {
            asked += 1;
            ptr::null_mut()
        });
        assert_eq!((given, asked), (ptr::null_mut(), TRIES + 1));
    }

    #[test]
    fn it_is_the_systems_memory() {
        let layout = Layout::array::<u8>(100).expect("a size");
        // SAFETY: the layout has a size.
        let zeroed = unsafe { Memory.alloc_zeroed(layout) };
        // SAFETY: it was allocated with this layout, and the size is not zero.
        let larger = unsafe { Memory.realloc(zeroed, layout, 10_000) };
        assert!(!larger.is_null());
        // SAFETY: so many bytes stay as they were.
        assert_eq!(unsafe { std::slice::from_raw_parts(larger, 100) }, [0; 100]);
        // SAFETY: of this size since.
        unsafe { Memory.dealloc(larger, Layout::array::<u8>(10_000).expect("a size")) };
    }
}
