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
    let fill_up = |out: &mut Vec<u8>| {
        let fills = fill.chars().count();
        let (times, rest) = ((wanted - have) / fills, (wanted - have) % fills);
        let start = out.len();
        let bytes = times * fill.len();
        out.reserve(bytes + fill.len() + text.len());
        if times > 0 {
            out.extend_from_slice(fill.as_bytes());
        }
        // Twice as much each time: fills mostly have one character, and a character at a time costs more than all the rest.
        while out.len() < start + bytes {
            out.extend_from_within(start..start + (out.len() - start).min(start + bytes - out.len()));
        }
        out.extend_from_slice(&fill.as_bytes()[..boundary(fill, rest as u64)]);
    };
    if at_start {
        fill_up(out);
    }
    out.extend_from_slice(text.as_bytes());
    if !at_start {
        fill_up(out);
    }
}

/// Each word, of letters and digits, with a capital letter at its start and small ones behind.
pub(super) fn init_cap(text: &str, out: &mut Vec<u8>) {
    let mut inside = false;
    let mut bytes = [0; 4];
    for c in text.chars() {
        if c.is_ascii() {
            out.push(if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() } as u8);
        } else if inside {
            c.to_lowercase().for_each(|c| out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes()));
        } else {
            c.to_uppercase().for_each(|c| out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes()));
        }
        inside = c.is_alphanumeric();
    }
}

/// Characters of `from` replaced by those at the same place of `to`, or left out where there are none. Of one that is twice in `from` the first counts.
pub(super) fn translate(text: &str, from: &str, to: &str, out: &mut Vec<u8>) {
    let mut bytes = [0; 4];
    for c in text.chars() {
        let kept = match from.chars().position(|other| other == c) {
            Some(at) => to.chars().nth(at),
            None => Some(c),
        };
        out.extend_from_slice(kept.map_or("", |c| c.encode_utf8(&mut bytes)).as_bytes());
    }
}

/// Characters to insert, leave out or exchange to make one text of the other.
pub(super) fn levenshtein(a: &str, b: &str) -> i64 {
    // The distances of what came of `a` so far to each start of `b`.
    let mut distances: Vec<i64> = (0..=b.chars().count() as i64).collect();
    for (row, x) in a.chars().enumerate() {
        let mut diagonal = row as i64;
        distances[0] = diagonal + 1;
        for (column, y) in b.chars().enumerate() {
            let exchanged = diagonal + i64::from(x != y);
            diagonal = distances[column + 1];
            distances[column + 1] = exchanged.min(diagonal + 1).min(distances[column] + 1);
        }
    }
    distances[distances.len() - 1]
}

/// All before `count` occurrences of a separator, or all behind them, counted from the end, where the number is negative.
pub(super) fn substr_index<'a>(text: &'a str, at: &str, count: i64) -> &'a str {
    if count == 0 || at.is_empty() {
        return "";
    }
    let before = usize::try_from(count.unsigned_abs() - 1).unwrap_or(usize::MAX);
    if count > 0 {
        text.match_indices(at).nth(before).map_or(text, |(found, _)| &text[..found])
    } else {
        text.rmatch_indices(at).nth(before).map_or(text, |(found, _)| &text[found + at.len()..])
    }
}

/// Text with `count` characters from number `start` (1 or more) on replaced. A negative count repeats characters before those.
pub(super) fn overlay(text: &str, with: &str, start: i64, count: i64, out: &mut Vec<u8>) {
    let end = (start - 1).saturating_add(count).max(0);
    out.extend_from_slice(&text.as_bytes()[..boundary(text, (start - 1).unsigned_abs())]);
    out.extend_from_slice(with.as_bytes());
    out.extend_from_slice(&text.as_bytes()[boundary(text, end.unsigned_abs())..]);
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
        for wanted in 0..40 {
            for fill in ["x", "ü", "xyz", "日x語"] {
                let filled: String = fill.chars().cycle().take(wanted).collect();
                assert_eq!(of("ab", wanted as i64 + 2, fill), (format!("{filled}ab"), format!("ab{filled}")), "{wanted} {fill}");
            }
        }
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
    fn words_and_characters() {
        let capped = |text: &str| built(|out| init_cap(text, out));
        assert_eq!((capped("hello WORLD-wide 2nd"), capped("élan ÜBER ŉ")), ("Hello World-Wide 2nd".into(), "Élan Über ʼN".into()));
        let translated = |text: &str, from: &str, to: &str| built(|out| translate(text, from, to, out));
        assert_eq!(
            (translated("12345", "143", "ax"), translated("日本日", "日", "é"), translated("aab", "aab", "xyz")),
            ("a2x5".into(), "é本é".into(), "xxz".into())
        );
        for (a, b, distance) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("日本語", "日語", 1), ("same", "same", 0)]
        {
            assert_eq!(levenshtein(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn parts_by_separator_and_position() {
        for (count, expected) in
            [(1, "www"), (2, "www.apache"), (3, "www.apache.org"), (-1, "org"), (-2, "apache.org"), (0, ""), (i64::MIN, "www.apache.org")]
        {
            assert_eq!(substr_index("www.apache.org", ".", count), expected, "{count}");
        }
        assert_eq!((substr_index("aaa", "aa", 1), substr_index("aaa", "aa", -1), substr_index("abc", "", 1)), ("", "", ""));
        let overlaid = |text: &str, start: i64, count: i64| built(|out| overlay(text, "xx", start, count, out));
        assert_eq!(
            (overlaid("abcdef", 3, 2), overlaid("abc", 9, 1), overlaid("abc", 2, -5)),
            ("abxxef".into(), "abcxx".into(), "axxabc".into())
        );
        assert_eq!(
            (overlaid("日本語", 2, 1), overlaid("日本語", 1, i64::MAX), overlaid("", 1, 0)),
            ("日xx語".into(), "xx".into(), "xx".into())
        );
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
