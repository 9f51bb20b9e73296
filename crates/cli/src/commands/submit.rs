//! `quorate job submit`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use quorate_client::LineOutcome;
use quorate_types::{JobId, limits};
use serde::de::IgnoredAny;

use super::{Context, explain, wait};
use crate::args::{FileFormat, Format, SubmitArgs};
use crate::exit::{Failure, REJECTED};
use crate::output::{self, json};
use crate::wfcommons::{self, Conversion};

/// The largest file that is read: 4 GiB, more than any cluster takes at once.
const FILE_BYTES_MAX: u64 = 128 * limits::JOB_BYTES_MAX as u64;
/// What a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) async fn run(context: &Context, args: SubmitArgs) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let input = match args.format {
        FileFormat::Json => classify(&text),
        FileFormat::Wfcommons => Input::One(converted(&text, &args)?),
    };
    if args.dry_run {
        return dry_run(context, input, args.idempotency_key.as_deref()).await;
    }
    let ids = match input {
        Input::One(job) => submit_one(context, job, args.idempotency_key.as_deref()).await?,
        Input::Lines(_) if args.idempotency_key.is_some() => {
            return Err(Failure::Usage(
                "several jobs can't share one --idempotency-key: give each line a field of that name".into(),
            ));
        }
        Input::Lines(lines) => submit_lines(context, &lines).await?,
    };
    if args.wait { wait::run(context, &ids, None).await } else { Ok(()) }
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    One(Bytes),
    Lines(Vec<Bytes>),
}

/// One JSON text is one job, however it is laid out. Otherwise, if the first line is JSON by itself,
/// each line is one. What is neither goes to the cluster as it is, which says what is wrong.
fn classify(text: &[u8]) -> Input {
    let is_json = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).is_ok();
    let lines: Vec<&[u8]> =
        text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    match lines.first() {
        Some(first) if lines.len() > 1 && is_json(first) => {
            Input::Lines(lines.into_iter().map(Bytes::copy_from_slice).collect())
        }
        Some(_) | None => Input::One(Bytes::copy_from_slice(text)),
    }
}

fn converted(text: &[u8], args: &SubmitArgs) -> Result<Bytes, Failure> {
    let conversion = Conversion { time_scale: args.time_scale, burn: args.burn, cores_millis: args.cores };
    let job =
        wfcommons::convert(text, &conversion).map_err(|e| Failure::Usage(format!("{}: {e}", args.file.display())))?;
    Ok(serde_json::to_vec(&job).context("write the job")?.into())
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |e: io::Error| Failure::Usage(format!("can't read {}: {e}", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(unreadable)?))
    };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.starts_with(&GZIP_MAGIC) {
        let packed = std::mem::take(&mut bytes);
        MultiGzDecoder::new(packed.as_slice()).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("{} is larger than {FILE_BYTES_MAX} bytes: split it", path.display())));
    }
    Ok(bytes)
}

/// Reads a file with one JSON text.
pub(super) fn read_json(path: &Path) -> Result<serde_json::Value, Failure> {
    serde_json::from_slice(&read(path)?).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

async fn dry_run(context: &Context, input: Input, key: Option<&str>) -> Result<(), Failure> {
    match input {
        Input::One(job) => explain::tried(context, &context.client.dry_run(job, key).await?),
        Input::Lines(_) => Err(Failure::Usage("--dry-run takes a single job, not lines of many".into())),
    }
}

async fn submit_one(context: &Context, job: Bytes, key: Option<&str>) -> Result<Vec<JobId>, Failure> {
    let submitted = context.client.submit_bytes(job, key).await?;
    match context.format {
        Format::Json => json::print(&submitted)?,
        Format::Table => output::data(submitted.id.to_string())?,
    }
    Ok(vec![submitted.id])
}

/// Submits line by line; a line that is rejected does not keep the others back.
async fn submit_lines(context: &Context, lines: &[Bytes]) -> Result<Vec<JobId>, Failure> {
    let outcomes = context.client.submit_lines(lines).await?;
    let mut ids = Vec::new();
    for outcome in &outcomes {
        match (context.format, outcome) {
            (Format::Json, outcome) => json::print_line(outcome)?,
            (Format::Table, LineOutcome::Accepted { id, .. }) => output::data(id.to_string())?,
            (Format::Table, LineOutcome::Rejected { error }) => output::data(format!("rejected: {error}"))?,
        }
        if let LineOutcome::Accepted { id, .. } = outcome {
            ids.push(*id);
        }
    }
    if ids.len() < outcomes.len() {
        output::note(format!("{} of {} jobs were rejected", outcomes.len() - ids.len(), outcomes.len()));
        return Err(Failure::Code(REJECTED));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_one_job_and_lines_are_many() {
        let pretty = b"{\n  \"command\": [\"true\"]\n}\n";
        assert_eq!(classify(pretty), Input::One(Bytes::from_static(pretty)));
        let one = b"{\"command\":[\"true\"]}\n";
        assert_eq!(classify(one), Input::One(Bytes::from_static(one)));
        let lines = b"{\"command\":[\"a\"]}\n\n{broken\n";
        let expected = [&b"{\"command\":[\"a\"]}"[..], b"{broken"].map(Bytes::from_static).to_vec();
        assert_eq!(classify(lines), Input::Lines(expected));
        assert_eq!(classify(b""), Input::One(Bytes::new()));
    }

    #[test]
    fn packed_files_are_unpacked() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.json.gz");
        let mut packer = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        packer.write_all(b"{}").unwrap();
        packer.finish().unwrap();
        assert_eq!(read(&path).unwrap(), b"{}");
        assert_eq!(read(Path::new("/nonexistent")).unwrap_err().exit_code(), 2);
    }
}
