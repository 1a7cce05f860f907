//! The words that others see of a process, in `/proc/PID/cmdline`.

use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// The C library calls what is in this section with the arguments of `main`, before it.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn(c_int, *const *mut c_char) = remember;

extern "C" fn remember(count: c_int, words: *const *mut c_char) {
    let Ok(count) = usize::try_from(count) else { return };
    if words.is_null() || count == 0 {
        return;
    }
    // SAFETY: `words` holds `count` pointers to strings, which the kernel laid down one after the
    // other (execve(2), `create_elf_tables` in the kernel): the last one's end is the end of all.
    unsafe {
        let (first, last) = (*words, *words.add(count - 1));
        let end = last.add(libc::strlen(last) + 1);
        if let Ok(length) = usize::try_from(end.offset_from(first)) {
            START.store(first.cast(), Ordering::Relaxed);
            LENGTH.store(length, Ordering::Relaxed);
        }
    }
}

/// Shows these words in place of the caller's, as far as there is room: what was written on the host's
/// command line is nobody's business in the container. The process's own arguments are gone
/// afterwards.
pub fn replace(title: &str) {
    let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    if start.is_null() {
        return;
    }
    let shown = title.len().min(length.saturating_sub(1));
    // SAFETY: the kernel gave this process these bytes, writable; nobody else refers to them, for
    // std copies the arguments it hands out.
    unsafe {
        ptr::write_bytes(start, 0, length);
        ptr::copy_nonoverlapping(title.as_ptr(), start, shown);
    }
}
