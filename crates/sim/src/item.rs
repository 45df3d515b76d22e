//! What travels on a connection, and the numbers of hosts.

use sow_content::Block;
use sow_engine::Message;

use crate::host_link::Load;

/// The number of a host. The origin is number 0.
pub type HostId = usize;

/// One item on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A message.
    Message(Message),
    /// A block of the content.
    Block {
        /// The position and length of the block.
        block: Block,
        /// A bit of the block is flipped.
        corrupt: bool,
    },
}

impl Item {
    pub(crate) fn block(&self) -> Option<Block> {
        match self {
            Item::Message(_) => None,
            Item::Block { block, .. } => Some(*block),
        }
    }
}

impl Load for Item {
    fn content_bytes(&self) -> u64 {
        self.block().map_or(0, |block| u64::from(block.length))
    }
}
