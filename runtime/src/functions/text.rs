//! Text, by characters, as DataFusion's functions treat it.

use memchr::memmem;
use stagefuse_ir::abi::ErrorCode;

/// As `str::to_uppercase`.
pub(super) fn upper(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        out.extend(text.bytes().map(|byte| byte.to_ascii_uppercase()));
    } else {
        out.extend_from_slice(text.to_uppercase().as_bytes());
    }
}

/// As `str::to_lowercase`, which looks at the neighbours of a final sigma.
pub(super) fn lower(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        out.extend_from_slice(text.to_lowercase().as_bytes());
    }
}

pub(super) fn trim_start<'a>(text: &'a str, characters: &str) -> &'a str {
    text.trim_start_matches(|c| characters.contains(c))
}

pub(super) fn trim_end<'a>(text: &'a str, characters: &str) -> &'a str {
    text.trim_end_matches(|c| characters.contains(c))
}

/// Where the character of this number begins, or the text's end.
fn boundary(text: &str, characters: u64) -> usize {
    let characters = usize::try_from(characters).unwrap_or(usize::MAX);
    if text.is_ascii() {
        return characters.min(text.len());
    }
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// Where so many characters before the end begin, or the text's start.
fn boundary_from_end(text: &str, characters: u64) -> usize {
    let characters = usize::try_from(characters).unwrap_or(usize::MAX);
    if text.is_ascii() || characters == 0 {
        return text.len().saturating_sub(characters);
    }
    text.char_indices().nth_back(characters - 1).map_or(0, |(at, _)| at)
}

pub(super) fn left(text: &str, characters: i64) -> &str {
    let end = if characters < 0 { boundary_from_end(text, characters.unsigned_abs()) } else { boundary(text, characters.unsigned_abs()) };
    &text[..end]
}

pub(super) fn right(text: &str, characters: i64) -> &str {
    let start = if characters < 0 { boundary(text, characters.unsigned_abs()) } else { boundary_from_end(text, characters.unsigned_abs()) };
    &text[start..]
}

/// The byte where a part is first found. An empty part is found at the start.
pub(super) fn find(text: &str, part: &str) -> Option<usize> {
    memmem::find(text.as_bytes(), part.as_bytes())
}

/// The number of the character where a part is first found, from 1.
pub(super) fn position(text: &str, part: &str) -> i64 {
    match find(text, part) {
        Some(at) => text[..at].chars().count() as i64 + 1,
        None => 0,
    }
}

pub(super) fn replace(text: &str, from: &str, to: &str, out: &mut Vec<u8>) {
    if from.is_empty() {
        return out.extend_from_slice(text.as_bytes());
    }
    let mut done = 0;
    for at in memmem::find_iter(text.as_bytes(), from.as_bytes()) {
        out.extend_from_slice(&text.as_bytes()[done..at]);
        out.extend_from_slice(to.as_bytes());
        done = at + from.len();
    }
    out.extend_from_slice(&text.as_bytes()[done..]);
}

/// A text cut at nothing is one part.
pub(super) fn split_part<'a>(text: &'a str, at: &str, number: i64) -> Result<&'a str, ErrorCode> {
    let behind = usize::try_from(number.unsigned_abs().saturating_sub(1)).unwrap_or(usize::MAX);
    let found = match number {
        0 => return Err(ErrorCode::Function),
        _ if at.is_empty() => (behind == 0).then_some(text),
        1.. => text.split(at).nth(behind),
        _ => text.rsplit(at).nth(behind),
    };
    Ok(found.unwrap_or_default())
}

pub(super) fn reverse(text: &str, out: &mut Vec<u8>) {
    let mut bytes = [0; 4];
    text.chars().rev().for_each(|c| out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes()));
}

/// So many characters of a text, filled up with those of `fill` in turn.
pub(super) fn pad(text: &str, characters: i64, fill: &str, at_start: bool, out: &mut Vec<u8>) {
    let wanted = characters.max(0) as usize;
    let have = text.chars().count();
    if have >= wanted || fill.is_empty() {
        return out.extend_from_slice(&text.as_bytes()[..boundary(text, wanted as u64)]);
    }
    let mut bytes = [0; 4];
    let mut fill_up = |out: &mut Vec<u8>| {
        fill.chars().cycle().take(wanted - have).for_each(|c| out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes()));
    };
    if at_start {
        fill_up(out);
    }
    out.extend_from_slice(text.as_bytes());
    if !at_start {
        fill_up(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_counted_in_characters() {
        for (text, characters, of_left, of_right) in [
            ("alphabet", 3, "alp", "bet"),
            ("alphabet", -3, "alpha", "habet"),
            ("alphabet", 0, "", ""),
            ("alphabet", -9, "", ""),
            ("日本語", 2, "日本", "本語"),
            ("日本語", -2, "日", "語"),
            ("日本語", 9, "日本語", "日本語"),
            ("日本語", -3, "", ""),
            ("", 1, "", ""),
            ("ü", i64::MAX, "ü", "ü"),
        ] {
            assert_eq!((left(text, characters), right(text, characters)), (of_left, of_right), "{text} {characters}");
        }
    }

    #[test]
    fn padding_cuts_and_fills() {
        let of = |text: &str, wanted: i64, fill: &str| {
            (built(|out| pad(text, wanted, fill, true, out)), built(|out| pad(text, wanted, fill, false, out)))
        };
        assert_eq!(of("abc", 5, "xy"), ("xyabc".into(), "abcxy".into()));
        assert_eq!(of("abc", 8, "xy"), ("xyxyxabc".into(), "abcxyxyx".into()));
        assert_eq!(of("日本語", 2, "x"), ("日本".into(), "日本".into()));
        assert_eq!(of("語", 3, "ü"), ("üü語".into(), "語üü".into()));
        assert_eq!(of("abc", -1, "x"), (String::new(), String::new()));
        assert_eq!(of("abc", 5, ""), ("abc".into(), "abc".into()));
    }

    #[test]
    fn parts_between_separators() {
        for (number, expected) in [(1, "a"), (2, ""), (3, "b"), (4, ""), (-1, "b"), (-3, "a"), (-4, ""), (i64::MIN, ""), (i64::MAX, "")] {
            assert_eq!(split_part("a,,b", ",", number), Ok(expected), "{number}");
        }
        assert_eq!(split_part("a,,b", ",", 0), Err(ErrorCode::Function));
        assert_eq!((split_part("ab", "", 1), split_part("ab", "", -1), split_part("ab", "", 2)), (Ok("ab"), Ok("ab"), Ok("")));
        assert_eq!(split_part("aaa", "aa", -1), Ok(""));
    }

    #[test]
    fn the_rest() {
        assert_eq!(built(|out| replace("aXbXX", "X", "--", out)), "a--b----");
        assert_eq!(built(|out| replace("aaa", "aa", "b", out)), "ba");
        assert_eq!(built(|out| replace("abc", "", "x", out)), "abc");
        assert_eq!(built(|out| reverse("日本語a", out)), "a語本日");
        assert_eq!((position("日本語", "語"), position("abc", ""), position("abc", "x")), (3, 1, 0));
        assert_eq!((trim_start("xxyabcx", "xy"), trim_end("xxyabcx", "xy"), trim_start("  a", "")), ("abcx", "xxyabc", "  a"));
        assert_eq!(built(|out| upper("straße ŉ", out)), "straße ŉ".to_uppercase());
        assert_eq!(built(|out| lower("ΟΔΟΣ Σ", out)), "ΟΔΟΣ Σ".to_lowercase());
    }
}
