//! What a guest sends, and what a client of a supervisor sends.

use isola_proto::{Decoder, Event, Frame, Kind, Request};

use super::{Run, Target};

pub(crate) fn target() -> Target {
    let mut bytes = Vec::new();
    Frame::data(Kind::Stdout, 3, b"hello".to_vec()).encode(&mut bytes);
    Frame::credit(Kind::CreditOutput, 3, 77).encode(&mut bytes);
    let mut seeds = vec![bytes];
    for json in [
        r#"{"hello":{"version":1}}"#,
        r#"{"signal":{"channel":1,"signal":15}}"#,
        r#"{"exited":{"channel":1,"status":{"code":0}}}"#,
        r#"{"start":{"channel":1,"spec":{}}}"#,
    ] {
        for kind in [Kind::Request, Kind::Event] {
            let mut frame = Vec::new();
            Frame {
                kind,
                channel: 0,
                payload: json.into(),
            }
            .encode(&mut frame);
            seeds.push(frame);
        }
    }
    Target {
        name: "proto",
        seeds,
        make: || Box::new(run) as Run,
        fix: super::nothing,
    }
}

/// Cut anywhere, the same frames come out, and each is what it was made from.
fn run(input: &[u8]) -> String {
    let (whole, end) = frames(input, input.len().max(1));
    let (cut, cut_end) = frames(input, 1 + input.len() % 7);
    assert_eq!((&whole, &end), (&cut, &cut_end));
    let mut again = Vec::new();
    for frame in &whole {
        frame.encode(&mut again);
    }
    assert_eq!(again, input[..again.len()]);
    let mut answer = end;
    for frame in &whole {
        answer += match frame.kind {
            Kind::Request => told(frame.parse::<Request>()),
            Kind::Event => told(frame.parse::<Event>()),
            Kind::CreditOutput | Kind::CreditInput => {
                let _ = frame.credited();
                "credit".into()
            }
            _ => "data".into(),
        }
        .as_str();
    }
    answer
}

fn told<T: std::fmt::Debug, E: std::fmt::Display>(parsed: Result<T, E>) -> String {
    match parsed {
        Ok(message) => format!("{message:?}"),
        Err(error) => error.to_string(),
    }
}

fn frames(input: &[u8], step: usize) -> (Vec<Frame>, String) {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for chunk in input.chunks(step) {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, error.to_string()),
            }
        }
    }
    (found, String::new())
}
