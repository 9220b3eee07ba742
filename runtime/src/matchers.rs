//! Prepared right-hand sides of LIKE and IN.

use std::collections::HashSet;

use arrow::array::{Scalar, StringArray};
use arrow::compute::ilike;
use memchr::memmem;
use stagefuse_ir::abi::StrRef;
use stagefuse_ir::{Lit, Op, Program, Repr, StageDecl, StmtKind};

use crate::builtins::strings;

/// What a builtin takes as its `matcher`.
#[derive(Debug)]
pub(crate) enum Matcher {
    /// LIKE.
    Like(Like),
    /// ILIKE.
    Ilike(Ilike),
    /// IN over numbers: the words of the literal table.
    Words(HashSet<[u64; 2]>),
    /// IN over text.
    Texts(HashSet<Box<[u8]>>),
}

impl Matcher {
    /// Whether the value is in the set, or matches the pattern.
    pub(crate) fn matches(&self, lo: u64, hi: u64) -> bool {
        let text = StrRef { lo, hi };
        match self {
            Matcher::Words(set) => set.contains(&[lo, hi]),
            // SAFETY: the caller's words are a text: only text is looked up in a set of texts, or matched with a pattern.
            Matcher::Texts(set) => set.contains(unsafe { strings::bytes(&text) }),
            // SAFETY: as above.
            Matcher::Like(like) => like.matches(unsafe { strings::bytes(&text) }),
            // SAFETY: as above.
            Matcher::Ilike(ilike) => ilike.matches(unsafe { strings::bytes(&text) }),
        }
    }
}

/// The matchers of a stage, by the value that the operation defines.
pub(crate) fn prepare(program: &Program, stage: &StageDecl, literals: &[[u64; 2]]) -> Vec<Option<Box<Matcher>>> {
    let mut matchers: Vec<Option<Box<Matcher>>> = (0..stage.values.len()).map(|_| None).collect();
    let mut visit = |value: stagefuse_ir::Value, op: &Op| {
        let matcher = match op {
            Op::Like(_, lit) => Matcher::Like(Like::new(bytes(program, *lit))),
            Op::Ilike(_, lit) => Matcher::Ilike(Ilike::new(bytes(program, *lit))),
            Op::In(arg, lits) if stage.values[*arg].repr == Repr::Str => {
                Matcher::Texts(lits.iter().map(|lit| bytes(program, *lit).into()).collect())
            }
            Op::In(_, lits) => Matcher::Words(lits.iter().map(|lit| literals[lit.as_u32() as usize]).collect()),
            _ => return,
        };
        matchers[value.as_u32() as usize] = Some(Box::new(matcher));
    };
    for stmt in &stage.body {
        if let StmtKind::Let(value, op) = &stmt.kind {
            walk(*value, op, &mut visit);
        }
    }
    for probe in stage.probes() {
        for (value, op) in probe.residual.iter().flat_map(|region| &region.body) {
            walk(*value, op, &mut visit);
        }
    }
    matchers
}

fn walk(value: stagefuse_ir::Value, op: &Op, visit: &mut impl FnMut(stagefuse_ir::Value, &Op)) {
    visit(value, op);
    if let Op::If(_, then, otherwise) = op {
        for (value, op) in then.body.iter().chain(&otherwise.body) {
            walk(*value, op, visit);
        }
    }
}

fn bytes(program: &Program, lit: Lit) -> &[u8] {
    program.literals[lit].value.as_bytes().unwrap_or_default()
}

/// A pattern that takes small and capital letters for the same.
#[derive(Debug)]
pub(crate) struct Ilike {
    /// The pattern in small letters, if it is ASCII.
    like: Option<Like>,
    pattern: Scalar<StringArray>,
}

impl Ilike {
    pub(crate) fn new(pattern: &[u8]) -> Self {
        let like = pattern.is_ascii().then(|| Like::new(&pattern.to_ascii_lowercase()));
        Ilike { like, pattern: StringArray::new_scalar(String::from_utf8_lossy(pattern)) }
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match &self.like {
            Some(like) if text.is_ascii() => like.matches(&text.to_ascii_lowercase()),
            // Unicode's rules, as Arrow applies them.
            _ => {
                let text = StringArray::new_scalar(String::from_utf8_lossy(text));
                ilike(&text, &self.pattern).is_ok_and(|found| found.value(0))
            }
        }
    }
}

/// A LIKE pattern, in the quickest form that it allows.
#[derive(Debug)]
pub(crate) enum Like {
    /// No wildcard.
    Exact(Box<[u8]>),
    /// Texts between `%`: the first anchored at the start, the last at the end (each may be empty), the others found in order.
    Parts { prefix: Box<[u8]>, middle: Vec<memmem::Finder<'static>>, suffix: Box<[u8]> },
    /// Anything with `_`.
    General(Vec<Token>),
}

/// One element of a pattern.
#[derive(Debug, PartialEq)]
pub(crate) enum Token {
    Byte(u8),
    AnyChar,
    AnyText,
}

impl Like {
    pub(crate) fn new(pattern: &[u8]) -> Self {
        let mut tokens = vec![];
        let mut bytes = pattern.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                b'%' if tokens.last() == Some(&Token::AnyText) => {}
                b'%' => tokens.push(Token::AnyText),
                b'_' => tokens.push(Token::AnyChar),
                // A backslash takes the next character as it is; one at the end stands for itself.
                b'\\' => tokens.push(Token::Byte(bytes.next().unwrap_or(b'\\'))),
                other => tokens.push(Token::Byte(other)),
            }
        }
        if tokens.contains(&Token::AnyChar) {
            return Like::General(tokens);
        }
        let mut parts: Vec<Vec<u8>> = vec![vec![]];
        for token in &tokens {
            match token {
                Token::Byte(byte) => parts.last_mut().expect("never empty").push(*byte),
                _ => parts.push(vec![]),
            }
        }
        if parts.len() == 1 {
            return Like::Exact(parts.remove(0).into());
        }
        let suffix = parts.pop().expect("two parts at least").into();
        let prefix = parts.remove(0).into();
        let middle = parts.iter().map(|part| memmem::Finder::new(part).into_owned()).collect();
        Like::Parts { prefix, middle, suffix }
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Like::Exact(pattern) => text == &**pattern,
            Like::Parts { prefix, middle, suffix } => {
                // PERF: a comparison with an empty part would hand memcmp a dangling address, and its masked load of no bytes there
                // costs hundreds of cycles on processors with AVX-512.
                let mut rest = text;
                if !prefix.is_empty() {
                    let Some(behind) = rest.strip_prefix(&**prefix) else { return false };
                    rest = behind;
                }
                if !suffix.is_empty() {
                    let Some(before) = rest.strip_suffix(&**suffix) else { return false };
                    rest = before;
                }
                for finder in middle {
                    match finder.find(rest) {
                        Some(at) => rest = &rest[at + finder.needle().len()..],
                        None => return false,
                    }
                }
                true
            }
            Like::General(tokens) => general(tokens, text),
        }
    }
}

/// Greedy matching that comes back to the last `%` where it fails.
fn general(tokens: &[Token], text: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(token) {
            Some(Token::AnyText) => {
                last = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::AnyChar) => {
                at += char_bytes(text[at]);
                token += 1;
                continue;
            }
            Some(Token::Byte(byte)) if *byte == text[at] => {
                at += 1;
                token += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, from)) = last else { return false };
        let next = from + char_bytes(text[from]);
        last = Some((star, next));
        (token, at) = (star + 1, next);
    }
    tokens[token..].iter().all(|token| *token == Token::AnyText)
}

/// Length of a character that begins with this byte.
fn char_bytes(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns() {
        for (text, pattern, expected) in [
            ("green", "green", true),
            ("green", "%ee%", true),
            ("green", "g%n", true),
            ("gn", "g%n", true),
            ("g", "g%g", false),
            ("abcabc", "a%c%c", true),
            ("abc", "a%c%c", false),
            ("", "%", true),
            ("", "", true),
            ("a", "", false),
            ("日本語", "___", true),
            ("日本語", "_%語", true),
            ("日本語", "__", false),
            ("a%b", "a\\%b", true),
            ("axb", "a\\%b", false),
            ("aXbXc", "%X_X%", true),
            ("special packages requests", "%special%requests%", true),
            ("requests special", "%special%requests%", false),
        ] {
            assert_eq!(Like::new(pattern.as_bytes()).matches(text.as_bytes()), expected, "{text:?} like {pattern:?}");
        }
    }

    #[test]
    fn like_is_arrows_like() {
        let pieces = ["a", "b", "ab", "%", "%", "_", "\\", "\\%", "\\_", "é", "日", "🦀", "\n", ".", "*"];
        let mut state = 1u64;
        let mut text = |most: u64| {
            let mut next = |below: u64| {
                state = stagefuse_ir::abi::hash_word(state, below, 3).wrapping_add(1);
                state % below
            };
            (0..next(most + 1)).map(|_| pieces[next(pieces.len() as u64) as usize]).collect::<String>()
        };
        let mut matched = 0;
        for _ in 0..2_000 {
            let pattern = text(6);
            let mut texts: Vec<String> = (0..20).map(|_| text(8)).collect();
            // Random texts seldom match: these often do.
            texts.push(pattern.replace('%', "").replace('_', "é").replace('\\', ""));
            texts.push(pattern.replace('%', "ab").replace('_', "🦀").replace('\\', ""));
            texts.push(pattern.clone());
            let array = arrow::array::StringArray::from(texts.clone());
            let expected = arrow::compute::like(&array, &arrow::array::StringArray::new_scalar(pattern.as_str())).unwrap();
            let like = Like::new(pattern.as_bytes());
            for (text, expected) in texts.iter().zip(expected.values()) {
                assert_eq!(like.matches(text.as_bytes()), expected, "{text:?} like {pattern:?}");
                matched += usize::from(expected);
            }
        }
        assert!(matched > 3_000, "only {matched} texts matched");
    }
}
