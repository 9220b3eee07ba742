//! Patterns of texts, made ready once: a worker keeps what it met last.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memchr;
use regex::{CaptureLocations, Regex};

use crate::matchers::{Ilike, Like};

/// Patterns that are kept of a kind. Those of a column may be many.
const KEPT: usize = 64;

/// What was made of texts, by the texts.
#[derive(Debug)]
struct Made<T> {
    entries: Vec<([Box<str>; 2], T)>,
    last: usize,
}

impl<T> Default for Made<T> {
    fn default() -> Self {
        Made { entries: vec![], last: 0 }
    }
}

impl<T> Made<T> {
    /// What was made of these texts, or is now; `None` where nothing can be.
    fn get(&mut self, of: [&str; 2], make: impl FnOnce() -> Option<T>) -> Option<&mut T> {
        let same = |entry: &([Box<str>; 2], T)| *entry.0[0] == *of[0] && *entry.0[1] == *of[1];
        // Most patterns are the same for all rows.
        if !self.entries.get(self.last).is_some_and(same) {
            self.last = match self.entries.iter().position(same) {
                Some(at) => at,
                None => {
                    let made = make()?;
                    if self.entries.len() >= KEPT {
                        self.entries.clear();
                    }
                    self.entries.push((of.map(Box::from), made));
                    self.entries.len() - 1
                }
            };
        }
        Some(&mut self.entries[self.last].1)
    }
}

/// Whether a text is a regular expression.
pub fn is_regex(pattern: &str) -> bool {
    Regex::new(pattern).is_ok()
}

/// Patterns that a worker has made ready.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    likes: Made<Like>,
    ilikes: Made<Ilike>,
    regexes: Made<Regex>,
    replacements: Made<Replacement>,
}

impl Patterns {
    /// SQL's LIKE.
    pub(super) fn like(&mut self, text: &str, pattern: &str) -> bool {
        self.likes.get([pattern, ""], || Some(Like::new(pattern.as_bytes()))).is_some_and(|like| like.matches(text.as_bytes()))
    }

    /// SQL's ILIKE.
    pub(super) fn ilike(&mut self, text: &str, pattern: &str) -> bool {
        self.ilikes.get([pattern, ""], || Some(Ilike::new(pattern.as_bytes()))).is_some_and(|like| like.matches(text.as_bytes()))
    }

    /// Whether a regular expression is found in a text; `None` where it is none.
    pub(super) fn found(&mut self, text: &str, regex: &str) -> Option<bool> {
        Some(self.regexes.get([regex, ""], || Regex::new(regex).ok())?.is_match(text))
    }

    /// A text with what a regular expression finds replaced, at most `limit` times (0: always); `None` where it is none.
    pub(super) fn replaced<'t>(&mut self, text: &'t str, regex: &str, with: &str, limit: i64) -> Option<Cow<'t, str>> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let replacement = self.replacements.get([regex, with], || Replacement::new(regex, with))?;
        Some(replacement.apply(text, limit))
    }
}

/// A regular expression and what replaces its matches.
#[derive(Debug)]
struct Replacement {
    regex: Regex,
    with: String,
    /// What finds a group that is all that is left of a text: the expression without the end that takes all the rest.
    short: Option<(Regex, CaptureLocations)>,
}

impl Replacement {
    fn new(pattern: &str, with: &str) -> Option<Self> {
        // Groups are called \1 in SQL.
        static GROUPS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\{1,2}(\d+)").expect("a regular expression"));
        let regex = Regex::new(pattern).ok()?;
        let with = GROUPS.replace_all(with, "$${$1}").into_owned();
        let short = pattern.strip_suffix(".*$").filter(|short| with == "${1}" && short.starts_with('^'));
        let short = short.and_then(|short| Regex::new(short).ok()).filter(|short| short.captures_len() == 2);
        let short = short.map(|short| {
            let groups = short.capture_locations();
            (short, groups)
        });
        Some(Replacement { regex, with, short })
    }

    fn apply<'t>(&mut self, text: &'t str, limit: usize) -> Cow<'t, str> {
        // PERF: the rest of the text need not be matched, unless it goes beyond the line.
        if let Some((short, groups)) = self.short.as_mut().filter(|_| limit == 1) {
            match short.captures_read(groups, text) {
                None => return Cow::Borrowed(text),
                Some(found) if memchr(b'\n', &text.as_bytes()[found.end()..]).is_none() => {
                    return Cow::Borrowed(groups.get(1).map_or("", |(start, end)| &text[start..end]));
                }
                Some(_) => {}
            }
        }
        self.regex.replacen(text, limit, self.with.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_are_found() {
        let mut patterns = Patterns::default();
        for (text, regex, expected) in [
            ("green", "e{2}", Some(true)),
            ("green", "^e", Some(false)),
            ("日本語", "^.本.$", Some(true)),
            ("GREEN", "(?i)een$", Some(true)),
            ("", "", Some(true)),
            ("a", "(", None),
        ] {
            assert_eq!(patterns.found(text, regex), expected, "{text:?} ~ {regex:?}");
        }
        assert_eq!(patterns.found("green", "e{2}"), Some(true));
        // More than are kept.
        for number in 0..200 {
            assert_eq!(patterns.found(&number.to_string(), &format!("^{number}$")), Some(true));
        }
        assert!(patterns.like("green", "%ee_") && patterns.ilike("GREEN", "%ee_") && !patterns.like("GREEN", "%ee_"));
    }

    #[test]
    fn matches_are_replaced() {
        let mut patterns = Patterns::default();
        let host = r"^https?://(?:www\.)?([^/]+)/.*$";
        for (text, regex, with, limit, expected) in [
            ("http://www.a.b/c/d", host, r"\1", 1, "a.b"),
            ("http://www.a.b/c\nd", host, r"\1", 1, "http://www.a.b/c\nd"),
            ("ftp://a", host, r"\1", 1, "ftp://a"),
            ("aXbXc", "X", "--", 1, "a--bXc"),
            ("aXbXc", "X", "--", 0, "a--b--c"),
            ("ab", "(a)(b)", r"\2\\1", 1, "ba"),
            ("日本", "本", "", 0, "日"),
            ("abc", "x*", "-", 0, "-a-b-c-"),
            ("a", "^(b)?.*$", r"\1", 1, ""),
        ] {
            assert_eq!(patterns.replaced(text, regex, with, limit).as_deref(), Some(expected), "{text:?} {regex:?}");
            // As the expression as a whole would have it.
            let with = with.replace(r"\\", r"\").replace(r"\1", "${1}").replace(r"\2", "${2}");
            assert_eq!(Regex::new(regex).unwrap().replacen(text, limit as usize, &with), expected, "{text:?} {regex:?}");
        }
        assert_eq!(patterns.replaced("a", "(", "", 1), None);
    }
}
