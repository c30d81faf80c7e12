//! A program that answers lines, line by line; no answer is waited for longer than any takes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(90);

/// The running program; killed when dropped.
pub struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Talk {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, answers) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        // Ends with the program's output, or with this, which closes the pipe.
        std::thread::spawn(move || {
            for line in output.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { input: child.stdin.take(), child, answers }
    }

    /// Writes, without waiting for an answer.
    pub fn write(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).unwrap();
    }

    /// The next line that it says.
    pub fn hear(&self) -> String {
        self.answers.recv_timeout(WAIT).expect("it answers")
    }

    /// Whether it says nothing for a moment.
    pub fn is_silent(&self) -> bool {
        self.answers.recv_timeout(Duration::from_millis(300)) == Err(RecvTimeoutError::Timeout)
    }

    /// Does not listen any more.
    pub fn turn_away(&mut self) {
        self.answers = channel().1;
    }

    /// Ends its input, and waits for its end: the exit code.
    pub fn end(mut self) -> Option<i32> {
        self.input = None;
        self.wait()
    }

    /// Waits for its end while its input is open.
    pub fn wait(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < WAIT, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
