//! Request bodies: bounded in bytes and in time, read into types, complaints with their place. And answers: bounded
//! in bytes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use quorate_types::job::Object;
use quorate_types::problem::{Code, FieldError, Problem};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Room;
use super::error::{ApiError, ApiResult};
use crate::limits::{ANSWER_BYTES_SMALL, BODY_BYTES_MAX, BODY_BYTES_SMALL, BODY_TIMEOUT};

/// A body, and its share of the room that all bodies have together.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Takes room for so many bytes, or refuses.
pub(crate) fn reserve(room: &Room, bytes: usize) -> ApiResult<OwnedSemaphorePermit> {
    let taken = kib(bytes).and_then(|kib| room.bodies.clone().try_acquire_many_owned(kib).ok());
    taken.ok_or_else(|| ApiError::new(Code::Overloaded, "too many request bodies are under way here"))
}

/// Makes the room that was taken fit so many bytes.
pub(crate) fn resize(room: &Room, held: &mut OwnedSemaphorePermit, bytes: usize) -> ApiResult<()> {
    let now = held.num_permits() << 10;
    if bytes > now {
        held.merge(reserve(room, bytes - now)?);
    } else {
        drop(held.split((now - bytes) >> 10));
    }
    Ok(())
}

fn kib(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.div_ceil(1024)).ok()
}

/// Whether a body is so small that reading it costs less than another connection.
pub(crate) fn is_small(body: &Body) -> bool {
    body.size_hint().upper().is_some_and(|bytes| bytes <= BODY_BYTES_SMALL)
}

/// The whole body. Its room is given free when the result is dropped: after the answer.
pub(crate) async fn read(room: &Room, body: Body) -> ApiResult<Received> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, collect(room, body)).await;
    collected.map_err(|_| ApiError::new(Code::InvalidJson, "the body did not come in time"))?
}

/// Takes room as the bytes come: what a client only announces keeps nobody out.
async fn collect(room: &Room, mut body: Body) -> ApiResult<Received> {
    let (mut bytes, mut held) = (BytesMut::new(), reserve(room, 0)?);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::new(Code::InvalidJson, format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
        resize(room, &mut held, bytes.capacity())?;
    }
    Ok(Received { bytes: bytes.freeze(), _room: held })
}

/// A large answer takes room until its client has it: who reads slowly, or nothing at all, fills no memory.
pub(crate) async fn weigh(room: Arc<Semaphore>, response: Response) -> Response {
    let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes > ANSWER_BYTES_SMALL) else { return response };
    let Some(held) = kib(bytes).and_then(|kib| room.try_acquire_many_owned(kib).ok()) else {
        return ApiError::new(Code::Overloaded, "too many large answers are under way here").into_response();
    };
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => {
            let weighed = Weighed { bytes: body.to_bytes(), _room: held };
            Response::from_parts(parts, Body::from(Bytes::from_owner(weighed)))
        }
        Err(error) => ApiError::internal("collect an answer", &error).into_response(),
    }
}

struct Weighed {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Weighed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn too_large() -> ApiError {
    ApiError::new(Code::TooLarge, format!("more than {BODY_BYTES_MAX} bytes"))
}

/// Reads JSON. What is no JSON is `invalid_json`; JSON of another shape gets `shape`, with a pointer.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], shape: Code) -> ApiResult<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| complaint(&error, bytes, shape))?;
    deserializer.end().map_err(|error| syntax(&error))?;
    Ok(parsed)
}

/// Like [`parse`], and an empty body stands for the default.
pub(crate) async fn optional<T: DeserializeOwned + Default>(room: &Room, body: Body) -> ApiResult<T> {
    let body = read(room, body).await?;
    if body.bytes.is_empty() { Ok(T::default()) } else { Ok(parse::<Object<T>>(&body.bytes, Code::InvalidJson)?.0) }
}

/// The body of a request that has nothing to say: empty, or an object without fields.
pub(crate) async fn nothing(room: &Room, body: Body) -> ApiResult<()> {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    optional::<Nothing>(room, body).await.map(|Nothing {}| ())
}

fn complaint(error: &serde_path_to_error::Error<serde_json::Error>, bytes: &[u8], shape: Code) -> ApiError {
    let detail = match error.inner() {
        inner if inner.is_data() => inner.to_string(),
        // Where a word is expected, a number is no JSON to serde_json.
        inner if inner.to_string().starts_with("expected value") && is_json(bytes) => "must be a text".to_owned(),
        inner => return syntax(inner),
    };
    ApiError(Problem::with_errors(shape, vec![FieldError::new(pointer(error.path()), detail)]))
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
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

    #[tokio::test]
    async fn only_what_has_come_takes_room() {
        let room = Room { bodies: Arc::new(Semaphore::new(4)), ..Room::new(None) };
        let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>());
        tokio::time::timeout(std::time::Duration::from_millis(1), read(&room, silent)).await.unwrap_err();
        let pieces = ["x".repeat(1500), "y".repeat(1500)].map(Ok::<_, std::convert::Infallible>);
        let received = read(&room, Body::from_stream(futures_util::stream::iter(pieces))).await.unwrap();
        assert_eq!((received.bytes.len(), room.bodies.available_permits()), (3000, 1));
        let refused = read(&room, Body::from("z".repeat(1025))).await.unwrap_err();
        assert_eq!(refused.0.code, Code::Overloaded);
        drop(received);
        assert_eq!(room.bodies.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_large_answer_takes_room_until_it_is_taken() {
        let room = Arc::new(Semaphore::new(ANSWER_BYTES_SMALL >> 9));
        let answer = |bytes: usize| Body::from("x".repeat(bytes)).into_response();
        let large = weigh(room.clone(), answer(ANSWER_BYTES_SMALL + 1024)).await;
        assert_eq!(large.status(), 200);
        let held = large.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(weigh(room.clone(), answer(ANSWER_BYTES_SMALL + 1024)).await.status(), 429);
        assert_eq!(weigh(room.clone(), answer(ANSWER_BYTES_SMALL)).await.status(), 200, "a small one");
        drop(held);
        assert_eq!(room.available_permits(), ANSWER_BYTES_SMALL >> 9);
    }

    #[tokio::test]
    async fn who_has_nothing_to_say_says_nothing_else() {
        let room = Room::new(None);
        for fine in ["", "{}", " {} "] {
            nothing(&room, Body::from(fine)).await.unwrap();
        }
        for bad in ["{\"dry_run\":true}", "{", "[]", "null", "1"] {
            assert_eq!(nothing(&room, Body::from(bad)).await.unwrap_err().0.code, Code::InvalidJson, "{bad}");
        }
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
