//! One engine against scripted peers, in every dialect.

mod bittorrent;
mod chunk;
mod chunk_misbehavior;
mod completion;
mod json_torrent;
mod places;
mod random_operations;
mod receivers;
mod relay;
mod scene;
mod starvation;
mod starvation_whole_pieces;
mod upload_order;
mod withdrawal;
