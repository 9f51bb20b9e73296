//! Overload and hostile input: more load than the cluster can take, clients that are slow, silent or lie, strangers
//! at the peer port. While each of these goes on, honest clients are answered and the leader and the workers stay.

mod calm;
mod connections;
mod flood;
mod limits;
mod memory;
mod peer_port;
mod wire;

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
