//! Text: references, comparison, hash, substring.

use stagefuse_ir::abi::{STR_INLINE, StrRef};

use super::put;
use crate::matchers::Matcher;

/// A reference to text. It lives as long as the text does where that is longer than 12 bytes.
pub(crate) fn make(text: &[u8]) -> StrRef {
    let len = u64::from(text.len() as u32);
    if text.len() > STR_INLINE as usize {
        return StrRef { lo: len | u64::from(four(text, 0)) << 32, hi: text.as_ptr() as u64 };
    }
    let words = u128::from(len) | short(text) << 32;
    StrRef { lo: words as u64, hi: (words >> 64) as u64 }
}

/// At most 12 bytes as a number, the first of them its lowest. Words that overlap take the place of a copy of any length, which would be a call.
fn short(text: &[u8]) -> u128 {
    let len = text.len();
    match len {
        0 => 0,
        1..4 => [0, len / 2, len - 1].into_iter().fold(0, |all, at| all | u128::from(text[at]) << (8 * at)),
        4..8 => u128::from(four(text, 0)) | u128::from(four(text, len - 4)) << (8 * (len - 4)),
        _ => u128::from(four(text, 0)) | u128::from(four(text, 4)) << 32 | u128::from(four(text, len - 4)) << (8 * (len - 4)),
    }
}

/// Four bytes of a text.
fn four(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(text[at..at + 4].try_into().expect("four bytes"))
}

/// The bytes of a text.
///
/// # Safety
/// `s` is a valid reference whose text, where it is long, lives as long as the result is used.
pub(crate) unsafe fn bytes(s: &StrRef) -> &[u8] {
    let len = s.lo as u32;
    let start = if len <= STR_INLINE {
        // The text begins at byte 4 of the reference itself.
        (s as *const StrRef).cast::<u8>().wrapping_add(4)
    } else {
        s.hi as *const u8
    };
    // SAFETY: inline text lies within `s`; long text by the caller's promise.
    unsafe { std::slice::from_raw_parts(start, len as usize) }
}

/// DataFusion's `substr` by characters: the window `start .. start + count` of 1-based positions, cut to the text.
pub(crate) fn substr(text: &[u8], start: i64, count: i64) -> &[u8] {
    // Without a count, the end does not move with a start far before the text.
    let end = if count == i64::MAX { i64::MAX } else { start.saturating_add(count) };
    let first = start.max(1) - 1;
    let last = (end.max(1) - 1).max(first);
    let cut = |at: i64| (at as u64).min(text.len() as u64) as usize;
    // What comes behind the window does not move it.
    if text[..cut(last)].is_ascii() {
        return &text[cut(first)..cut(last)];
    }
    let boundary = |wanted: i64| {
        let mut starts = text.iter().enumerate().filter(|(_, byte)| (**byte as i8) >= -0x40).map(|(at, _)| at);
        starts.nth(usize::try_from(wanted).unwrap_or(usize::MAX)).unwrap_or(text.len())
    };
    &text[boundary(first)..boundary(last)]
}

/// Number of characters.
pub(crate) fn char_length(text: &[u8]) -> i32 {
    text.iter().filter(|byte| (**byte as i8) >= -0x40).count() as i32
}

pub(super) unsafe extern "C" fn bytes_equal(a: u64, b: u64, len: u64) -> i32 {
    // SAFETY: generated code passes two addresses of `len` bytes each.
    let (a, b) =
        unsafe { (std::slice::from_raw_parts(a as *const u8, len as usize), std::slice::from_raw_parts(b as *const u8, len as usize)) };
    i32::from(a == b)
}

pub(super) unsafe extern "C" fn str_compare(a_lo: u64, a_hi: u64, b_lo: u64, b_hi: u64) -> i32 {
    let (a, b) = (StrRef { lo: a_lo, hi: a_hi }, StrRef { lo: b_lo, hi: b_hi });
    // SAFETY: the words are texts of the running morsel, of literals, or of tables.
    unsafe { bytes(&a).cmp(bytes(&b)) as i32 }
}

pub(super) unsafe extern "C" fn str_like(matcher: *mut u8, lo: u64, hi: u64) -> i32 {
    // SAFETY: the worker's table of matchers holds one for the running operation, which lives as long as the run.
    i32::from(unsafe { &*matcher.cast::<Matcher>() }.matches(lo, hi))
}

pub(super) unsafe extern "C" fn in_set(matcher: *mut u8, lo: u64, hi: u64) -> i32 {
    // SAFETY: as above.
    i32::from(unsafe { &*matcher.cast::<Matcher>() }.matches(lo, hi))
}

pub(super) unsafe extern "C" fn str_substr(out: *mut u8, lo: u64, hi: u64, start: u64, count: u64) -> i32 {
    let text = StrRef { lo, hi };
    // SAFETY: the words are a text; `out` has room for a reference.
    unsafe {
        let part = make(substr(bytes(&text), start as i64, count as i64));
        put(out, ((u128::from(part.hi) << 64) | u128::from(part.lo)) as i128);
    }
    0
}

pub(super) unsafe extern "C" fn str_char_length(lo: u64, hi: u64) -> i32 {
    let text = StrRef { lo, hi };
    // SAFETY: the words are a text.
    char_length(unsafe { bytes(&text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_hold_short_text_and_refer_to_long() {
        let longest = "a good deal longer than that";
        for text in (0..=longest.len()).map(|len| &longest[..len]).chain(["twelve bytes", "ünïcödé"]) {
            let reference = make(text.as_bytes());
            // SAFETY: `text` outlives the use.
            assert_eq!(unsafe { bytes(&reference) }, text.as_bytes());
        }
    }

    #[test]
    fn substr_counts_characters() {
        for (text, start, count, expected) in [
            ("alphabet", 1, 2, "al"),
            ("alphabet", 3, i64::MAX, "phabet"),
            ("alphabet", -1, 4, "al"),
            ("alphabet", 0, 1, ""),
            ("alphabet", 30, 1, ""),
            ("alphabet", i64::MIN + 1, i64::MAX, "alphabet"),
            ("alphabet", i64::MIN + 1, 5, ""),
            ("alphabet", i64::MAX, i64::MAX, ""),
            ("alphabet", 1, i64::MAX - 1, "alphabet"),
            ("alphabet", 2, 0, ""),
            ("", 1, 1, ""),
            ("ab日本語", 1, 2, "ab"),
            ("ab日本語", 2, 2, "b日"),
            ("日本語", -1, 3, "日"),
            ("日本語", 4, 1, ""),
            ("日本語", 2, 1, "本"),
            ("日本語", 2, 9, "本語"),
        ] {
            assert_eq!(substr(text.as_bytes(), start, count), expected.as_bytes(), "{text} {start} {count}");
        }
    }
}
