//! TensorBoard's event files: a series for each cell and measure.
//!
//! A file is a sequence of records, each a length, its checksum, an `Event` message of TensorFlow and its checksum
//! (tensorflow/core/lib/io/record_writer.h, core/util/event.proto). Only what scalars need of the messages is declared here.

use prost::Message;

use super::File;
use crate::record::Record;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Always there: a plain field would leave a zero out.
    #[prost(float, optional, tag = "2")]
    value: Option<f32>,
}

/// A file for each cell, in a folder named after the cell. Steps are epochs, from 1, and of what is measured before a step the step of
/// the whole training; wall times count the seconds of training up to the moment at which the cell ended.
pub fn event_files(records: &[&Record]) -> Vec<File> {
    let file = |record: &&Record| {
        let label: String = record.cell.label().chars().map(plain).collect();
        // One name: of a cell that was trained again, the file is replaced.
        let name = format!("{label}_{}/events.out.tfevents.sharpbench", record.id);
        File { name, content: events(record).iter().flat_map(framed).collect() }
    };
    records.iter().map(file).collect()
}

/// A character of a folder's name on every system.
fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '=') { c } else { '_' }
}

fn events(record: &Record) -> Vec<Event> {
    let m = &record.measures;
    let start = record.provenance.finished_unix as f64 - m.train_seconds;
    let scalars = |wall_time: f64, step: u64, values: &[(&str, Option<f64>)]| {
        let values = values
            .iter()
            .filter_map(|(tag, value)| value.map(|value| Scalar { tag: (*tag).into(), value: Some(value as f32) }));
        Event { wall_time, step: step as i64, file_version: None, summary: Some(Summary { values: values.collect() }) }
    };
    let version = Event { wall_time: start, step: 0, file_version: Some("brain.Event:2".into()), summary: None };
    let mut events = vec![version];
    let mut ends = Vec::new();
    for (epoch, e) in (1..).zip(&m.epochs) {
        ends.push(ends.last().unwrap_or(&start) + e.train_seconds);
        let values = [
            ("test/accuracy", e.test_accuracy),
            ("test/loss", e.test_loss),
            ("train/loss", Some(e.train_loss)),
            ("train/learning_rate", Some(e.lr)),
            ("train/seconds", Some(e.train_seconds)),
        ];
        events.push(scalars(ends[ends.len() - 1], epoch, &values));
    }
    let after = |epoch: usize| ends.get(epoch).copied().unwrap_or(start);
    let at = |step: u64| start + m.train_seconds * step as f64 / m.steps.max(1) as f64;
    events.extend(m.mask_refreshes.iter().map(|r| {
        let values = [
            ("mask/live_fraction", Some(r.live_fraction)),
            ("mask/overlap", r.overlap),
            ("mask/fisher_share", r.fisher_share),
        ];
        scalars(after(r.epoch), r.epoch as u64 + 1, &values)
    }));
    events.extend(m.sharpness.iter().map(|s| {
        let values = [
            ("sharpness/eigenvalue", Some(s.eigenvalue)),
            ("sharpness/trace", Some(s.trace)),
            ("sharpness/max_loss_increase", Some(s.max_loss_increase)),
        ];
        scalars(after(s.epoch), s.epoch as u64 + 1, &values)
    }));
    events.extend(
        m.gradient_norms.iter().map(|g| scalars(at(g.step), g.step, &[("gradient/squared_norm", Some(g.squared))])),
    );
    events.extend(m.edge.iter().map(|check| {
        let values = [
            ("edge/loss", Some(check.loss)),
            ("edge/gradient_norm", Some(check.gradient_norm)),
            ("edge/eigenvalue", Some(check.eigenvalue)),
            ("edge/edge", Some(check.edge)),
            ("edge/gradient_descent_edge", Some(check.gradient_descent_edge)),
            ("edge/alignment", Some(check.alignment)),
            ("edge/ascent_alignment", check.ascent_alignment),
        ];
        scalars(at(check.step), check.step, &values)
    }));
    events
}

/// An event as a record of the file.
fn framed(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [length.as_slice(), &masked_checksum(&length), &message, &masked_checksum(&message)].concat()
}

/// CRC-32C, rotated and shifted: a checksum of data that hold their own checksum would be weak.
fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{cells, epoch, record};

    fn hex(event: &Event) -> String {
        framed(event).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Against the bytes that the RecordWriter of TensorBoard 2.21 writes of the same events.
    #[test]
    fn records_are_tensorboards_to_the_byte() {
        let event = Event { wall_time: 1.5, step: 0, file_version: Some("brain.Event:2".into()), summary: None };
        assert_eq!(hex(&event), "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c");
        let value = Scalar { tag: "test/accuracy".into(), value: Some(0.5) };
        let event =
            Event { wall_time: 98.0, step: 1, file_version: None, summary: Some(Summary { values: vec![value] }) };
        let expected =
            "2300000000000000b09f774309000000000080584010012a160a140a0d746573742f6163637572616379150000003f68d4b5e0";
        assert_eq!(hex(&event), expected);
    }

    #[test]
    fn every_epoch_and_refresh_is_an_event() {
        let cell = cells().swap_remove(0);
        let mut record = record(&cell, Some(0.5), 0.01);
        record.measures.epochs = vec![epoch(0.25), epoch(0.5)];
        record.measures.train_seconds = 4.0;
        record.provenance.finished_unix = 100;
        let [_, first, second] = events(&record).try_into().expect("a version and two epochs");
        assert_eq!((first.step, first.wall_time, second.step, second.wall_time), (1, 98.0, 2, 100.0));
        let values = second.summary.expect("scalars").values;
        let accuracy = Scalar { tag: "test/accuracy".into(), value: Some(0.5) };
        assert!(values.contains(&accuracy) && values.iter().all(|v| v.tag != "test/loss"), "{values:?}");
        let files = event_files(&[&record]);
        assert!(files[0].name.starts_with("sgd_lr=0.05_weight_decay=0.0005_epochs=2_seed=1234_"), "{}", files[0].name);
    }
}
