//! The shell as somebody at a terminal meets it, and as a script that pipes SQL into it does.
//!
//! The terminal is made by `script` of util-linux; without it that part says that it is skipped.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_stagefuse");

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn piped(input: &str) -> Output {
    let child = Command::new(BINARY).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the shell reads");
    child.wait_with_output().expect("the shell ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn piped_input_is_run_to_the_first_failure() {
    let output = piped("select 1 as a;\n\\mode interpreted\nselect 2\n  as b; select 3 as c");
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(["| a |", "| b |", "| c |"].iter().all(|head| out.contains(head)) && !out.contains("ms"), "{out}");
    let output = piped("select 1 as a;\nselect no_such_column;\nselect 3 as c;");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("| a |") && !out.contains("| c |"), "{out}");
    assert!(err.starts_with("error: ") && err.trim_end().lines().count() == 1 && err.contains("no_such_column"), "{err}");
    for (input, part) in
        [("\\nonsense", "\\?"), ("\\mode fast", "auto, compiled"), ("\\dump ir", "no query yet"), ("select 'open", "Unterminated")]
    {
        let output = piped(input);
        assert_eq!(output.status.code(), Some(1), "{input}");
        assert!(text(&output.stderr).contains(part), "{input}: {}", text(&output.stderr));
    }
    assert!(piped("").status.success() && piped("\\q\nselect no;").status.success());
}

#[test]
fn commands_show_tables_settings_and_code() {
    let output = piped(
        "create table t as select 1 as x, 'a' as y;\n\\d\n\\d t\n\\set stagefuse.max_fields 77\n\\set stagefuse.max_fields\n\\mode compiled\n\
         select sum(x) from t where x > 0;\n\\explain\n\\analyze\n\\dump asm\n\\explain select x + 1 from t\nselect x + 1 from t;\n\\dump ir\n\\timing on\nselect 5;\n",
    );
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}\n{out}", text(&output.stderr));
    for part in ["BASE TABLE", "| y ", "77", "native", "group  groups0", "rows out", "ret", "add v0", " ms"] {
        assert!(out.contains(part), "no `{part}` in\n{out}");
    }
}

/// A shell at a terminal.
struct Terminal {
    child: std::process::Child,
    seen: Arc<Mutex<String>>,
    /// Up to where it has been looked at.
    at: usize,
}

impl Terminal {
    /// None where there is no `script`.
    fn open() -> Option<Terminal> {
        let mut command = Command::new("script");
        // `exec`: the shell of `script` must not stay between, since it would die of the Ctrl-C that is meant for ours.
        command.args(["-qefc", &format!("exec '{BINARY}'"), "/dev/null"]).env("STAGEFUSE_HISTORY", "").env("TERM", "xterm");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut out, into) = (child.stdout.take().expect("piped"), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                into.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Some(Terminal { child, seen, at: 0 })
    }

    fn send(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("the terminal takes keys");
    }

    /// Waits for a text behind what was seen before.
    #[track_caller]
    fn expect(&mut self, part: &str) {
        let start = Instant::now();
        loop {
            let seen = self.seen.lock().expect("nobody panics with it").clone();
            if let Some(found) = seen[self.at..].find(part) {
                self.at += found + part.len();
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no `{part}` in\n{}", &seen[self.at..]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_terminal_edits_completes_and_cancels() {
    let Some(mut terminal) = Terminal::open() else {
        println!("skipped: there is no `script` to make a terminal");
        return;
    };
    terminal.expect("\\q to quit");
    terminal.expect("stagefuse> ");
    // A statement of two lines; the keyword is completed.
    terminal.send("selec\t 6 * 7\r");
    terminal.send("as answer;\r");
    terminal.expect("| answer |");
    terminal.expect("| 42     |");
    terminal.expect("1 row");
    terminal.expect("stagefuse> ");
    // A line is thrown away, a query is cancelled, and the shell is still there.
    terminal.send("select nonsense\x03");
    terminal.expect("stagefuse> ");
    terminal.send(
        "select count(*) from generate_series(1, 1000000) a(x) join generate_series(1, 1000000) b(y) on x % 7 < y % 5 and x <> y + 1;\r",
    );
    terminal.expect("rows read");
    terminal.send("\x03");
    terminal.expect("error: cancelled");
    terminal.expect("stagefuse> ");
    terminal.send("create table word(long_column_name int);\r");
    terminal.expect("stagefuse> ");
    terminal.send("select long_col\t from word;\r");
    terminal.expect("| long_column_name |");
    terminal.expect("stagefuse> ");
    // After SET there are settings only; what is shared is filled in, and the rest is listed at once.
    terminal.send("set sta\tmax_f\t = 33;\r");
    terminal.expect("stagefuse> ");
    terminal.send("show stagefuse.m\t");
    terminal.expect("stagefuse.max_code_bytes");
    terminal.send("ax_f\t;\r");
    terminal.expect("| 33 ");
    terminal.expect("stagefuse> ");
    terminal.send("\\nonsense\r");
    terminal.expect("error: there is no command \\nonsense");
    terminal.expect("stagefuse> ");
    terminal.send("\\q\r");
    let status = terminal.child.wait().expect("it ends");
    assert!(status.success(), "{status}");
}
