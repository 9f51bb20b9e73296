//! Every replica is killed with -9 at once, again and again, under load: what was answered 2xx is there afterwards.

use std::collections::BTreeSet;

use crate::support::load::{Load, lost};
use crate::support::{Cluster, PATIENCE, turn, wait_until};

const ROUNDS: usize = 10;
const CLIENTS: usize = 8;
/// Accepted before each kill, so that a round certainly counts.
const JOBS_PER_ROUND: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_jobs_survive_the_death_of_every_replica() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let mut accepted = Vec::new();
    for round in 0..ROUNDS {
        let load = Load::start(&cluster.apis(), CLIENTS, &format!("round-{round}"));
        load.reaches(JOBS_PER_ROUND).await;
        cluster.kill_all_at_once();
        accepted.extend(load.stop().await);
        cluster.start_all();
        cluster.leader().await;
        // Through another replica each time.
        let api = cluster.at(cluster.ids()[round % 3]);
        let lost = lost(&api, &accepted).await;
        assert!(lost.is_empty(), "round {round}: {} of {} are lost: {lost:?}", lost.len(), accepted.len());
    }
    let ids: BTreeSet<u64> = accepted.iter().map(|job| job.id).collect();
    assert_eq!(ids.len(), accepted.len(), "two submissions were answered with one id");
    for job in accepted.iter().step_by(accepted.len() / 20) {
        let shown = cluster.any().job(job.id).await;
        assert_eq!(shown["spec"]["name"], job.name.as_str(), "{shown}");
    }
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    cluster.digests_agree().await;
    cluster.events_agree(&[]).await;
    cluster.finish();
}

/// Its vote for the leader of before outlives the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_alone_is_not_ready() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let alone = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill_all_at_once();
    cluster.replica(alone).process.start();
    let api = cluster.at(alone);
    let said = wait_until("the replica to answer", PATIENCE, || async {
        // Until it has read its own log it knows nobody.
        let knows = api.try_get("/v1/cluster?consistency=stale").await?.json()["leader"] == leader;
        if knows { api.try_get("/readyz").await } else { None }
    })
    .await;
    assert_eq!((said.status, said.code().as_str()), (503, "no_leader"));
    cluster.start_all();
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    cluster.finish();
}
