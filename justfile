# The recurring commands. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

_list:
    @just --list --unsorted

# Everything that CI checks; changes nothing.
check: fmt-check lint test deny

# Whether everything is formatted.
fmt-check:
    cargo fmt --all --check

# Clippy, with warnings denied.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Unit, integration and house tests, then the examples in the documentation.
test:
    cargo test --workspace --all-targets
    cargo test --workspace --doc

# Licences, sources, duplicates and advisories of the dependencies (needs cargo-deny).
deny:
    cargo deny check

# Formats, and applies what clippy can mend by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# The whole cluster in virtual time: seeds from SEED on, until one fails.
sim SEED="1" *ARGS:
    MIMALLOC_PURGE_DELAY=-1 cargo run --release -- sim --seed {{SEED}} --seeds 0 --shrink {{ARGS}}

# A cluster on this machine that survives the death of its leader.
demo:
    cargo run --release -- demo

# A cluster on this machine that is left running.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# Measures this build; `quorate bench --help` lists the scenarios.
bench SCENARIO *ARGS:
    cargo run --release -- bench {{SCENARIO}} {{ARGS}}

# This build and its peers in turn on this machine, with the ratios (see .ci/bench-peers for what it needs).
bench-peers *ARGS:
    cargo build --release
    .ci/bench-peers {{ARGS}}

# How figures change with ten, a hundred and a thousand times the work, as plots in Markdown.
growth *ARGS:
    cargo build --release
    .ci/growth {{ARGS}}

# Every fault on real processes (as root), in random order for so many minutes; target/chaos-report.md tells.
chaos MINUTES="30":
    QUORATE_CHAOS_MINUTES={{MINUTES}} cargo test --test end_to_end chaos -- --nocapture

# Graphs, keys, schedules and workflows while leaders die, at full length: a quarter of an hour.
endurance:
    QUORATE_ENDURANCE=1 cargo test --release --test end_to_end -- --nocapture endurance schedules
