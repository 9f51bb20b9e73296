//! The sellers' side: places with a number of seats, each seat held by whoever bid for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Seats of one place that one bidder holds for one bid. The order is that of eviction: the lowest bid
/// goes first, among equals the bidder with the higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    bid: i64,
    bidder: Reverse<u32>,
    seats: u32,
}

#[derive(Debug)]
struct Place {
    /// What an empty seat costs.
    floor: i64,
    empty: u32,
    held: BinaryHeap<Reverse<Holding>>,
}

/// Seats of `bidder` that somebody outbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Eviction {
    pub(super) bidder: u32,
    pub(super) seats: u32,
}

#[derive(Debug)]
pub(super) struct Market {
    places: Vec<Place>,
    /// The price of the cheapest seat of each place. It never falls.
    prices: Vec<i64>,
}

impl Market {
    /// Places with these prices and numbers of seats, all empty.
    pub(super) fn new(prices: Vec<i64>, seats: impl Iterator<Item = u32>) -> Self {
        let place = |(floor, empty): (&i64, u32)| Place { floor: *floor, empty, held: BinaryHeap::new() };
        Self { places: prices.iter().zip(seats).map(place).collect(), prices }
    }

    pub(super) fn prices(&self) -> &[i64] {
        &self.prices
    }

    /// Takes up to `wanted` seats that cost no more than `limit`, the cheapest first, and holds them for `bid`.
    /// Answers how many; who had to leave is added to `evictions`.
    pub(super) fn buy(&mut self, order: Order, evictions: &mut Vec<Eviction>) -> u32 {
        let place = &mut self.places[order.place];
        let mut bought = 0;
        while bought < order.wanted && self.prices[order.place] <= order.limit {
            bought += place.free_some(order.wanted - bought, evictions);
            self.prices[order.place] = place.price(order.bid);
        }
        if bought > 0 {
            place.held.push(Reverse(Holding { bid: order.bid, bidder: Reverse(order.bidder), seats: bought }));
            self.prices[order.place] = place.price(order.bid);
        }
        bought
    }

    /// Sets the prices after seats were given.
    pub(super) fn close_deals(&mut self) {
        for (place, price) in self.places.iter().zip(&mut self.prices) {
            *price = place.price(*price);
        }
    }

    /// Gives a bidder empty seats at the floor price.
    pub(super) fn seat(&mut self, place: usize, bidder: u32, seats: u32) {
        let at = &mut self.places[place];
        if seats == 0 {
            return;
        }
        assert!(seats <= at.empty, "seats are given once");
        at.empty -= seats;
        at.held.push(Reverse(Holding { bid: at.floor, bidder: Reverse(bidder), seats }));
    }
}

/// A bid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) place: usize,
    pub(super) bidder: u32,
    pub(super) wanted: u32,
    /// Seats that cost more are not worth it.
    pub(super) limit: i64,
    pub(super) bid: i64,
}

impl Place {
    fn price(&self, otherwise: i64) -> i64 {
        match self.held.peek() {
            _ if self.empty > 0 => self.floor,
            Some(Reverse(lowest)) => lowest.bid,
            None => otherwise,
        }
    }

    /// Frees up to `wanted` of the cheapest seats.
    fn free_some(&mut self, wanted: u32, evictions: &mut Vec<Eviction>) -> u32 {
        if self.empty > 0 {
            let seats = wanted.min(self.empty);
            self.empty -= seats;
            return seats;
        }
        let Some(mut lowest) = self.held.peek_mut() else { return wanted };
        let Reverse(Holding { bidder, seats: held, .. }) = &mut *lowest;
        let seats = wanted.min(*held);
        evictions.push(Eviction { bidder: bidder.0, seats });
        *held -= seats;
        if *held == 0 {
            PeekMut::pop(lowest);
        }
        seats
    }
}
