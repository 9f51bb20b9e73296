"""What schemathesis has to know of the cluster under test, and what it must not ask of it."""

import itertools
import json
import re

import jsonschema_rs
import schemathesis

# Stand for the newest jobs: old ones may have been forgotten by an earlier request.
NEWEST_JOBS = range(4_000_000_001, 4_000_000_007)
REPLICAS = {"1", "2", "3"}
# Nothing else of a valid request may be refused. What a schema can't say: how fields of a job go together, and what
# was asked before.
LAWFUL = re.compile(
    r'"code":"(idempotency_conflict|gone)"'
    r'|"pointer":"/tasks"|"pointer":"/tasks/\d+/(name|needs/\d+|backoff/max|anti_affinity/\d+|prefers/\d+|spread/\d+/label)"'
    r'|"pointer":"/backoff/max"'
    r'|"pointer":"/idempotency_key","detail":"differs from the header|"detail":"(Idempotency-Key: of many jobs|dry_run: is for a single job)'
    # Times that exclude each other, calendars, jobs that are not there.
    r'|"pointer":"/schedule(/(cron|every|time_zone|dst|jitter))?"|"pointer":"/(start_after|deadline|expires)"'
    r'|"pointer":"/then/\d+/job/(then|schedule|idempotency_key|concurrency/when_full|tasks|start_after|deadline|expires)'
    r'(/\d+/(name|needs/\d+|backoff/max|anti_affinity/\d+|prefers/\d+|spread/\d+/label))?"|"pointer":"/then/\d+/job/backoff/max"'
    r'|"pointer":"/limit/'
    # What goes with the short form only, bounds of durations, what goes together, and resources that are not there.
    r'|"pointer":"/(kind|count|max_unavailable|health(/.*)?|on_failure|concurrency|then|tasks|then/\d+/job/kind)"'
    r'|"pointer":"/(tasks/\d+/)?(retries|retry_on|no_retry_on|timeout|expected|driver|count|spread|needs)"'
    r'|"pointer":"/(movable|quantum|wait|max_unfinished)"|"pointer":"(/then/\d+/job)?/tasks/\d+/(gang|max_parallel|movable|rate|needs)"'
    r'|"pointer":"(/then/\d+/job)?(/tasks/\d+)?/(cluster_resources|rate)|"detail":"[^"]*(wait must|a minute)'
    r'|"detail":"give either failed or from|which is not known"'
)

jobs = []
requests = itertools.count()
document = {}


def operation_of(case):
    return case.operation.definition.raw.get("operationId")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    # This cluster has a token: what comes without it has to be refused.
    raw_schema["security"] = [{"bearer": []}]
    # Clients must bear new fields of answers; here one that the document does not list is a defect.
    for schema in raw_schema["components"]["schemas"].values():
        close(schema)
    # Version 3.1 has no schema for one event of a stream.
    stream = raw_schema["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    fields = {"id": "Cursor", "event": "EventType"}
    event = {name: {"$ref": f"#/components/schemas/{schema}"} for name, schema in fields.items()}
    stream.pop("schema")
    stream["itemSchema"] = {"properties": event, "required": ["id", "event", "data"]}
    document.update(raw_schema)


def close(schema):
    if "properties" in schema and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    for part in schema.get("oneOf", []):
        close(part)


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """The document gives the lines as one text."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def filter_case(context, case):
    """An integer with a fraction of zero is one for JSON Schema; the document says that it is none here."""
    return not holds_whole_float(case.body)


def holds_whole_float(value):
    if isinstance(value, dict):
        return any(holds_whole_float(inner) for inner in value.values())
    if isinstance(value, list):
        return any(holds_whole_float(inner) for inner in value)
    return isinstance(value, float) and value.is_integer()


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = operation_of(case)
    path = case.path_parameters
    if isinstance(path, dict) and path.get("id") in NEWEST_JOBS and jobs:
        path["id"] = jobs[-1 - path["id"] % len(NEWEST_JOBS) % len(jobs)]
    # The cluster would lose a replica for good.
    if operation == "removeReplica" and str(path.get("id")) in REPLICAS:
        path["id"] = 7
    # Nothing of what the other requests submit would start any more, or be taken.
    if operation == "setNamespace" and path.get("name") == "default":
        path["name"] = "other"
    # One that never comes is waited for, a minute each time, and stays. A member under other addresses is refused.
    if operation == "addReplica" and isinstance(case.body, dict) and isinstance(case.body.get("id"), int):
        case.body["id"] = min(case.body["id"], 1)
    if operation == "submitJob" and next(requests) % 4:
        freshen_keys(case)
    if isinstance(case.query, dict):
        bound(operation, case.query)


def freshen_keys(case):
    """A key of an earlier job, with which another one is refused whatever else it is, must not be the rule."""
    body = case.body if isinstance(case.body, dict) else {}
    for place, name in ((case.headers or {}, "Idempotency-Key"), (body, "idempotency_key")):
        if isinstance(place.get(name), str) and 0 < len(place[name]) < 200:
            place[name] = f"fresh-{next(requests)}"
    if isinstance(body.get("idempotency_key"), str) and "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = body["idempotency_key"]


def bound(operation, query):
    """Without an end these are answered for as long as the client listens, or for minutes."""
    if operation == "streamEvents" and "until" not in query:
        query["until"] = "now"
    if operation == "readLogs" and str(query.get("follow")).lower() == "true":
        query["follow"] = "false"
    if operation == "getJob" and re.match("[1-9]", str(query.get("wait"))):
        query["wait"] = "20ms"
    # An index that is not reached is waited for, five seconds each time.
    index = str(query.get("min_index"))
    if index.isdecimal() and 1 < int(index) < 1 << 64:
        query["min_index"] = 1


@schemathesis.hook
def after_call(context, case, response):
    if operation_of(case) == "submitJob" and response.status_code == 201:
        jobs.append(json.loads(response.content)["id"])


@schemathesis.hook
def filter_failure(context, failure, case, response):
    kind = type(failure).__name__
    if kind == "RejectedPositiveData":
        # What was edited on the way may count as valid although another part of the request is not.
        if any(part.mode.is_negative for part in case.meta.components.values()):
            return False
        return not LAWFUL.search(response.content.decode("utf-8", "replace"))
    # The answer to many jobs is 200, whatever becomes of each.
    if kind == "AcceptedNegativeData" and response.headers.get("content-type") == ["application/x-ndjson"]:
        return False
    # Any name is that of a namespace, also of one that was given the defaults again.
    if kind == "UseAfterFree" and operation_of(case) in ("getNamespace", "setNamespace", "resetNamespace"):
        return False
    # No replica is really added or removed, see above.
    return not (kind == "EnsureResourceAvailability" and operation_of(case) == "removeReplica")


@schemathesis.check
def lines_conform(context, response, case):
    """OpenAPI 3.1 has no schema for one line of a stream."""
    kind = response.headers.get("content-type", [""])[0]
    name = {"submitJob": "BulkLine", "streamEvents": "Event"}.get(operation_of(case))
    if name is None or kind not in ("application/x-ndjson", "text/event-stream"):
        return
    lines = response.content.decode().splitlines()
    if kind == "text/event-stream":
        lines = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema)
    for line in lines:
        for error in validator.iter_errors(json.loads(line)):
            raise AssertionError(f"a line is no {name}: {error.message}: {line}")
