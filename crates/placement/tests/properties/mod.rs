//! What must hold of every book, whatever happens: random clusters, tasks, ends, drains and losses.
//!
//! Layout: `world` (a cluster in virtual time around a book), `safety` (what no plan may do), `backfill` (reservations
//! are kept), `gangs` (what is placed as a whole), `orders` (bounds on waiting), `fairness` (of shares), `hashing` (who
//! moves when a worker comes or goes), `together` (a batch goes where it costs least), `zones` (even over the values of a
//! label).

mod backfill;
mod fairness;
mod gangs;
mod hashing;
mod orders;
mod safety;
mod together;
mod world;
mod zones;
