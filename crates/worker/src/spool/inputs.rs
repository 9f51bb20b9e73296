//! The file `QUORATE_INPUTS`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use quorate_types::inputs::{Input, Inputs, JobInput, LeftOut};
use quorate_types::{JobId, Name};
use serde::Serialize;

/// All parts together.
#[derive(Debug, Serialize)]
struct Content<'a> {
    needs: BTreeMap<&'a Name, &'a Vec<Input>>,
    jobs: BTreeMap<JobId, &'a JobInput>,
    left_out: Vec<&'a LeftOut>,
}

pub(super) fn write(path: &Path, parts: &[Arc<Inputs>]) -> io::Result<()> {
    let content = Content {
        needs: parts.iter().flat_map(|part| &part.needs).collect(),
        jobs: parts.iter().flat_map(|part| &part.jobs).map(|(job, input)| (*job, input)).collect(),
        left_out: parts.iter().flat_map(|part| &part.left_out).collect(),
    };
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut file, &content)?;
    file.flush()
}
