//! synthetic-text: the embedded stand-in for tiny_shakespeare, with 40,000 lines of made-up words.
//! Each word has a few likely successors.

use super::text::{LENGTH, VOCABULARY, sequences};
use super::{DataSet, DataSetEntry, Input, Provenance, Request, shakespeare};
use crate::error::Result;
use crate::random::{Stream, below, stream};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "synthetic-text",
    about: "embedded made-up text with the statistics of words, in sequences of 64 characters",
    input: Input::Tokens { length: LENGTH, vocabulary: VOCABULARY },
    classes: VOCABULARY,
    origin: "made by the program",
    available: Some([sequences(LINE * 30_000), sequences(LINE * 10_000)]),
    photographs: false,
    stand_in: "synthetic-text",
    load: |request| load(request),
    recognises: |_| false,
};

const LINES: usize = 40_000;
/// Characters per line, including its end.
const LINE: usize = 29;
const WORDS: usize = 300;
/// Likely successors of a word.
const FOLLOWERS: usize = 6;

fn load(request: &Request<'_>) -> Result<DataSet> {
    shakespeare::split(text(), Provenance::made(request.entry.name, "embedded", Vec::new()))
}

fn text() -> Vec<u8> {
    let rng = &mut stream(0, Stream::Synthetic("text"));
    let letters = |set: &'static [u8], rng: &mut _| set[below(rng, set.len())];
    let mut word = || -> Vec<u8> {
        let syllables = 1 + below(rng, 3);
        (0..syllables).flat_map(|_| [letters(b"bcdfghklmnprstvw", rng), letters(b"aeiou", rng)]).collect()
    };
    let words: Vec<Vec<u8>> = (0..WORDS).map(|_| word()).collect();
    let followers: Vec<usize> = (0..WORDS * FOLLOWERS).map(|_| below(rng, WORDS)).collect();
    let mut text = Vec::with_capacity(LINES * LINE);
    let mut current = 0;
    for _ in 0..LINES {
        let start = text.len();
        while text.len() < start + LINE - 1 {
            text.extend(&words[current]);
            text.push(b' ');
            current = followers[current * FOLLOWERS + below(rng, FOLLOWERS)];
        }
        text.truncate(start + LINE - 1);
        text.push(b'\n');
    }
    text
}
