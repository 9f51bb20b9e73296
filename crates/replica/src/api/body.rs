//! Request bodies: bounded in bytes and in time, read into types, complaints with their place.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use quorate_types::job::Object;
use quorate_types::problem::{Code, FieldError, Problem};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::Room;
use super::error::{ApiError, ApiResult};
use crate::limits::{BODY_BYTES_MAX, BODY_TIMEOUT};

/// A body, and its share of the room that all bodies have together.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Takes room for so many bytes, or refuses.
pub(crate) fn reserve(room: &Room, bytes: usize) -> ApiResult<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes.div_ceil(1024)).map_err(|_| too_large())?;
    let taken = room.bodies.clone().try_acquire_many_owned(kib);
    taken.map_err(|_| ApiError::new(Code::Overloaded, "too many request bodies are under way here"))
}

/// The whole body. Its room is given free when the result is dropped: after the answer.
pub(crate) async fn read(room: &Room, body: Body) -> ApiResult<Received> {
    let announced = body.size_hint().exact().unwrap_or(BODY_BYTES_MAX as u64);
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > BODY_BYTES_MAX {
        return Err(too_large());
    }
    let room = reserve(room, announced)?;
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let collected = collected.map_err(|_| ApiError::new(Code::InvalidJson, "the body did not come in time"))?;
    match collected {
        Ok(body) => Ok(Received { bytes: body.to_bytes(), _room: room }),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(ApiError::new(Code::InvalidJson, format!("the body broke off: {error}"))),
    }
}

pub(crate) fn too_large() -> ApiError {
    ApiError::new(Code::TooLarge, format!("more than {BODY_BYTES_MAX} bytes"))
}

/// Reads JSON. What is no JSON is `invalid_json`; JSON of another shape gets `shape`, with a pointer.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], shape: Code) -> ApiResult<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| complaint(&error, shape))?;
    deserializer.end().map_err(|error| syntax(&error))?;
    Ok(parsed)
}

/// Like [`parse`], and an empty body stands for the default.
pub(crate) async fn optional<T: DeserializeOwned + Default>(room: &Room, body: Body) -> ApiResult<T> {
    let body = read(room, body).await?;
    if body.bytes.is_empty() { Ok(T::default()) } else { Ok(parse::<Object<T>>(&body.bytes, Code::InvalidJson)?.0) }
}

fn complaint(error: &serde_path_to_error::Error<serde_json::Error>, shape: Code) -> ApiError {
    if !error.inner().is_data() {
        return syntax(error.inner());
    }
    let errors = vec![FieldError::new(pointer(error.path()), error.inner().to_string())];
    ApiError(Problem::with_errors(shape, errors))
}

fn syntax(error: &serde_json::Error) -> ApiError {
    ApiError(Problem::with_errors(Code::InvalidJson, vec![FieldError::new("", error.to_string())]))
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

pub(crate) fn is_ndjson(headers: &HeaderMap, name: header::HeaderName) -> bool {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("application/x-ndjson"))
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use quorate_types::job::JobRequest;

    use super::*;

    fn code_and_pointer(json: &str) -> (Code, String) {
        let problem = parse::<JobRequest>(json.as_bytes(), Code::InvalidJob).unwrap_err().0;
        (problem.code, problem.errors[0].pointer.clone())
    }

    #[test]
    fn complaints_name_their_place() {
        assert_eq!(code_and_pointer("{").0, Code::InvalidJson);
        assert_eq!(code_and_pointer("{} {}").0, Code::InvalidJson);
        assert_eq!(code_and_pointer("[1]").0, Code::InvalidJob);
        assert_eq!(code_and_pointer(r#"{"tasks":[{"count":"x"}]}"#), (Code::InvalidJob, "/tasks/0/count".into()));
        assert_eq!(code_and_pointer(r#"{"labels":{"a/b":"x"}}"#), (Code::InvalidJob, "/labels/a~1b".into()));
        let deep = format!("{}1{}", r#"{"tasks":["#.repeat(300), "]}".repeat(300));
        assert_ne!(code_and_pointer(&deep).0, Code::Internal);
    }
}
