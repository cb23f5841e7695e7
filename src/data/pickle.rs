//! The Python version of CIFAR, as torchvision and Keras leave it: a pickled dictionary per file, with pixels as a NumPy array and
//! classes as a list. Only data are read; what a pickle would have Python call is never called.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::checksums;
use super::parquet_files::Splits;
use super::{FileDigest, Images, Provenance, Request};
use crate::bounded;
use crate::digest;
use crate::error::{Error, Result};

/// Maximum bytes of a file, more than any original has.
const MOST_BYTES: u64 = 512 << 20;
/// Maximum values of a file: classes, keys and the parts of an array.
const MOST_VALUES: usize = 4_000_000;

/// Layout of a set of pickles in a directory.
pub(super) struct PickleSet {
    /// Directory in the archive.
    pub(super) folder: &'static str,
    /// Files, and whether they belong to the test split.
    pub(super) files: &'static [(&'static str, bool)],
    /// Key of the classes.
    pub(super) labels: &'static str,
}

impl PickleSet {
    /// Directory of the files: the given one, or the archive's directory in it.
    pub(super) fn directory(&self, directory: &Path) -> Option<PathBuf> {
        let mut places = [directory.to_path_buf(), directory.join(self.folder)].into_iter();
        places.find(|d| self.files.iter().all(|(name, _)| d.join(name).is_file()))
    }

    /// Reads the set.
    pub(super) fn read(&self, request: &Request<'_>, directory: &Path) -> Result<Splits> {
        let shape = request.image_shape()?;
        let mut files = Vec::new();
        let (mut train, mut test) = (Images::empty(shape), Images::empty(shape));
        for (name, is_test) in self.files {
            let path = directory.join(name);
            let bytes = bounded::read(&path, MOST_BYTES).map_err(Error::io("read", &path))?;
            let sha256 = digest::sha256_bytes(&bytes);
            if let Some(expected) = checksums::listed(directory, name)? {
                checksums::check(&path.display().to_string(), &sha256, &expected, "unpack the archive again")?;
            }
            files.push(FileDigest { file: (*name).into(), sha256 });
            let (images, limit) =
                if *is_test { (&mut test, request.spec.test) } else { (&mut train, request.spec.train) };
            self.append(request.entry.classes, images, limit, &bytes).map_err(|reason| {
                Error::Data(format!(
                    "{} is not a batch of the Python version ({reason}); unpack the archive again, or use the binary version",
                    path.display()
                ))
            })?;
        }
        Ok(([train, test], Provenance::made(request.entry.name, "directory", files)))
    }

    /// Appends images until there are `limit` of them.
    fn append(
        &self,
        classes: usize,
        images: &mut Images,
        limit: usize,
        bytes: &[u8],
    ) -> std::result::Result<(), String> {
        let Value::Dict(entries) = Unpickler::new(bytes).run()? else { return Err("it holds no dictionary".into()) };
        let entry = |name: &str| entries.iter().find(|(key, _)| key.text(bytes) == name).map(|(_, value)| value);
        let pixels = entry("data").and_then(|data| data.array(bytes)).ok_or("it has no array data")?;
        let Some(Value::List(labels)) = entry(self.labels) else {
            return Err(format!("it has no list {}", self.labels));
        };
        let stride = images.stride();
        if pixels.len() != labels.len() * stride {
            return Err(format!("it has {} bytes of pixels for {} images", pixels.len(), labels.len()));
        }
        for (label, pixels) in labels.iter().zip(pixels.chunks_exact(stride)).take(limit.saturating_sub(images.len())) {
            let Value::Int(label) = label else { return Err("a class is no number".into()) };
            let label = u8::try_from(*label).ok().filter(|label| usize::from(*label) < classes);
            images.labels.push(label.ok_or(format!("a class is outside 0..{classes}"))?);
            images.pixels.extend_from_slice(pixels);
        }
        Ok(())
    }
}

/// Maximum tuples, lists, dictionaries and objects of a file: a batch has about ten, and each may hold the one before.
const MOST_COMPOSITES: usize = 1_000;

/// What a pickle describes. Bytes and texts are places in the file.
#[derive(Clone, Debug)]
enum Value {
    Other,
    Int(i64),
    Bytes(Range<usize>),
    Text(Range<usize>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// What Python would make by a call: the arguments, and the state that it would be given.
    Object(Box<Value>, Box<Value>),
}

impl Value {
    /// A key as text.
    fn text<'a>(&self, bytes: &'a [u8]) -> &'a str {
        match self {
            Self::Text(range) | Self::Bytes(range) => {
                bytes.get(range.clone()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("")
            }
            _ => self.encoded().map_or("", |text| text.text(bytes)),
        }
    }

    /// Bytes that Python 3 wrote for Python 2: a text in Latin-1, to be encoded by a call.
    fn encoded(&self) -> Option<&Self> {
        let Self::Object(arguments, _) = self else { return None };
        let Self::Tuple(arguments) = &**arguments else { return None };
        arguments.first().filter(|text| matches!(text, Self::Text(_)))
    }

    /// The elements of a NumPy array: the last of its state.
    fn array(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Self::Object(_, state) = self else { return None };
        let Self::Tuple(state) = &**state else { return None };
        match state.last()? {
            Self::Bytes(range) => bytes.get(range.clone()).map(<[u8]>::to_vec),
            other => other.encoded()?.text(bytes).chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
        }
    }
}

/// Reads the operations that NumPy arrays, lists and dictionaries need, of protocols 0 < n < 5.
struct Unpickler<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<usize, Value>,
    values: usize,
    composites: usize,
}

type Read<T> = std::result::Result<T, String>;

impl<'a> Unpickler<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), values: 0, composites: 0 }
    }

    fn take(&mut self, n: usize) -> Read<Range<usize>> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len()).ok_or("it ends too early")?;
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    /// A whole number of so many bytes, little endian.
    fn number(&mut self, n: usize) -> Read<usize> {
        let range = self.take(n)?;
        let number = self.bytes[range].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|e| e.to_string())
    }

    fn sized(&mut self, n: usize) -> Read<Range<usize>> {
        let length = self.number(n)?;
        self.take(length)
    }

    fn line(&mut self) -> Read<()> {
        let end = self.bytes[self.at..].iter().position(|byte| *byte == b'\n').ok_or("it ends too early")?;
        self.at += end + 1;
        Ok(())
    }

    fn push(&mut self, value: Value) -> Read<()> {
        self.values += 1;
        let is_composite = matches!(value, Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Object(..));
        self.composites += usize::from(is_composite);
        if self.values > MOST_VALUES || self.composites > MOST_COMPOSITES {
            return Err(format!(
                "it has more than {MOST_VALUES} values or {MOST_COMPOSITES} lists, tuples and the like"
            ));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Read<Value> {
        self.stack.pop().ok_or_else(|| "its operations are out of order".into())
    }

    /// The values since the last mark.
    fn marked(&mut self) -> Read<Vec<Value>> {
        let mark =
            self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("its operations are out of order")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, n: usize) -> Read<()> {
        let start = self.stack.len().checked_sub(n).ok_or("its operations are out of order")?;
        let items = self.stack.split_off(start);
        self.push(Value::Tuple(items))
    }

    fn append(&mut self, items: Vec<Value>) -> Read<()> {
        match self.stack.last_mut() {
            Some(Value::List(list)) => list.extend(items),
            _ => return Err("its operations are out of order".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Value>) -> Read<()> {
        let Some(Value::Dict(entries)) = self.stack.last_mut() else {
            return Err("its operations are out of order".into());
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Read<()> {
        let value = match self.stack.last() {
            Some(value @ (Value::Int(_) | Value::Bytes(_) | Value::Text(_))) => value.clone(),
            // A batch never refers to its arrays, lists and tuples again.
            Some(_) => Value::Other,
            None => return Err("its operations are out of order".into()),
        };
        self.memo.insert(place, value);
        if self.memo.len() > MOST_VALUES {
            return Err(format!("it remembers more than {MOST_VALUES} values"));
        }
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Read<()> {
        let value = self.memo.get(&place).cloned().unwrap_or(Value::Other);
        self.push(value)
    }

    fn run(mut self) -> Read<Value> {
        loop {
            let operation = self.take(1)?.start;
            match self.bytes[operation] {
                b'.' => return self.pop(),
                0x80 => self.take(1).map(|_| ())?,
                0x95 => self.take(8).map(|_| ())?,
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b']' => self.push(Value::List(Vec::new()))?,
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
                b'K' => self.integer(1)?,
                b'M' => self.integer(2)?,
                b'J' => {
                    let range = self.take(4)?;
                    let bytes: [u8; 4] = self.bytes[range].try_into().map_err(|_| "it ends too early")?;
                    self.push(Value::Int(i32::from_le_bytes(bytes).into()))?;
                }
                0x8a => {
                    self.sized(1)?;
                    self.push(Value::Other)?;
                }
                b'U' | b'C' => self.sized(1).and_then(|range| self.push(Value::Bytes(range)))?,
                b'T' | b'B' => self.sized(4).and_then(|range| self.push(Value::Bytes(range)))?,
                0x8e => self.sized(8).and_then(|range| self.push(Value::Bytes(range)))?,
                0x8c => self.sized(1).and_then(|range| self.unicode(range))?,
                b'X' => self.sized(4).and_then(|range| self.unicode(range))?,
                b'q' => self.number(1).and_then(|place| self.remember(place))?,
                b'r' => self.number(4).and_then(|place| self.remember(place))?,
                0x94 => self.remember(self.memo.len())?,
                b'h' => self.number(1).and_then(|place| self.recall(place))?,
                b'j' => self.number(4).and_then(|place| self.recall(place))?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => self.marked().and_then(|items| self.append(items))?,
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![key, value])?;
                }
                b'u' => self.marked().and_then(|items| self.set(items))?,
                b't' => self.marked().and_then(|items| self.push(Value::Tuple(items)))?,
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                // The name of what Python would call, which is not needed.
                b'c' => {
                    self.line()?;
                    self.line()?;
                    self.push(Value::Other)?;
                }
                0x93 => {
                    self.pop()?;
                    self.pop()?;
                    self.push(Value::Other)?;
                }
                b'R' => {
                    let (arguments, _) = (self.pop()?, self.pop()?);
                    self.push(Value::Object(Box::new(arguments), Box::new(Value::Other)))?;
                }
                b'b' => {
                    let state = self.pop()?;
                    let Some(Value::Object(_, own)) = self.stack.last_mut() else {
                        return Err("its operations are out of order".into());
                    };
                    **own = state;
                }
                other => return Err(format!("it has the operation {other:#x}, which no batch has")),
            }
        }
    }

    fn integer(&mut self, n: usize) -> Read<()> {
        let number = self.number(n)?;
        self.push(Value::Int(number as i64))
    }

    fn unicode(&mut self, range: Range<usize>) -> Read<()> {
        std::str::from_utf8(&self.bytes[range.clone()]).map_err(|e| e.to_string())?;
        self.push(Value::Text(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: PickleSet = PickleSet { folder: "", files: &[], labels: "labels" };

    /// A batch as Python 2 wrote the originals, with two images of 1x1.
    fn batch() -> Vec<u8> {
        let mut bytes =
            b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x05batchq\x03U\x06labelsq\x04]q\x05(K\x03K\x07eU\x04dataq\x06"
                .to_vec();
        bytes.extend_from_slice(b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\x09U\x01bq\x0a\x87q\x0bRq\x0c");
        bytes.extend_from_slice(
            b"(K\x01K\x02K\x03\x86q\x0dcnumpy\ndtype\nq\x0eU\x02u1q\x0fK\x00K\x01\x87q\x10Rq\x11(K\x03U\x01|q\x12NNN",
        );
        bytes.extend_from_slice(
            b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x13b\x89T\x06\x00\x00\x00\x01\x02\x03\xfd\xfe\xfftq\x14bu.",
        );
        bytes
    }

    fn read(bytes: &[u8], limit: usize) -> Read<Images> {
        let mut images = Images::empty([3, 1, 1]);
        SET.append(10, &mut images, limit, bytes).map(|()| images)
    }

    #[test]
    fn a_batch_is_read_as_python_wrote_it() {
        let images = read(&batch(), 9).expect("a batch");
        assert_eq!((images.labels, images.pixels), (vec![3, 7], vec![1, 2, 3, 0xfd, 0xfe, 0xff]));
        assert_eq!(read(&batch(), 1).expect("a batch").labels, [3]);
    }

    /// Whatever is cut off or changed gives images or a reason, and nothing is called.
    #[test]
    fn damaged_batches_are_refused() {
        let whole = batch();
        for end in 0..whole.len() {
            assert!(read(&whole[..end], 9).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x80, b'(', b'R', b'u', b'.', 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                read(&changed, 9).map(drop).unwrap_or_else(|reason| assert!(!reason.is_empty()));
            }
        }
        assert!(read(b"cos\nsystem\n(U\x02lst\x52.", 9).is_err());
        // Tuples of tuples, and of what is remembered of them: neither memory nor the stack is exhausted.
        let nested = [b")".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat();
        assert!(read(&nested, 9).is_err_and(|reason| reason.contains("more than")));
        let doubled = [b")".to_vec(), b"q\x00h\x00\x86".repeat(60), b".".to_vec()].concat();
        assert!(read(&doubled, 9).is_err());
    }
}
