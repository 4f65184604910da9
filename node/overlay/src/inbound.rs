use crate::{
    frame::{ANSWER_BYTES_MAX, Answer, FRAME_COST, LENGTH_BYTES, Lane, RefusalCode},
    inbox::{DisconnectReason, Frame},
    peer::{Directory, Peer},
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::{io, sync::Arc, time::Duration};
use tokio::time::timeout;

/// What a lane on which nothing comes holds.
const IDLE_BYTES: usize = 4 << 10;
/// What a lane on which much comes reads into at once; frames are slices of it.
const BUSY_BYTES: usize = 128 << 10;
/// Frames up to this are copied out, so that a small one which somebody keeps does not keep all of its neighbours.
const COPIED_BYTES_MAX: usize = 2 << 10;
/// How long a refused peer may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Takes a lane from a known broker and hands out its frames, until it ends.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    directory: Arc<Directory>,
    peer: Arc<Peer>,
    session: u64,
    lane: Lane,
) -> DisconnectReason {
    let ready = Answer::Ready.encode();
    if stream.write_all(&ready).await.is_err() || stream.flush().await.is_err() {
        return DisconnectReason::Closed;
    }
    let mut frames = Frames::new(directory.frame_bytes_max);
    loop {
        let length = match frames.length(&mut stream).await {
            Ok(length) => length,
            Err(Broken::Closed) => return DisconnectReason::Closed,
            Err(Broken::Refused(code)) => {
                directory.condemn(&peer, session, code);
                refuse(stream, code).await;
                return DisconnectReason::Misbehaved(code);
            }
        };
        // IMPORTANT: room first, bytes second. Without room nothing more is read from this lane, and so from this peer.
        let cost = u32::try_from(length.saturating_add(FRAME_COST)).expect("Config::check bounds a frame");
        let Ok(room) = peer.room(lane).acquire_many_owned(cost).await else {
            return DisconnectReason::Closed;
        };
        let Ok(bytes) = frames.frame(&mut stream, length).await else {
            return DisconnectReason::Closed;
        };
        if !directory.deliver(&peer, session, Frame::new(peer.address, session, lane, bytes, room)) {
            return DisconnectReason::Closed;
        }
    }
}

/// Says why not, and closes.
pub(crate) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, code: RefusalCode) {
    let said = async {
        stream.write_all(&Answer::Refused(code).encode()).await?;
        stream.close().await?;
        // A stream that is dropped while its peer still sends is reset, and the answer may go with it.
        let mut rest = [0; ANSWER_BYTES_MAX];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever does not listen is not told.
    let _ = timeout(LINGER, said).await;
}

#[derive(Debug, PartialEq)]
enum Broken {
    Closed,
    Refused(RefusalCode),
}

/// Cuts a stream of bytes into frames.
struct Frames {
    bytes_max: usize,
    /// Zeroed where nothing was read yet.
    buffer: BytesMut,
    filled: usize,
}

impl Frames {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, buffer: BytesMut::new(), filled: 0 }
    }

    /// The length of the next frame.
    async fn length(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, Broken> {
        self.fill(stream, LENGTH_BYTES).await.map_err(|_| Broken::Closed)?;
        let length = self.buffer.get_u32() as usize;
        self.filled -= LENGTH_BYTES;
        if length == 0 {
            return Err(Broken::Refused(RefusalCode::MalformedFrame));
        }
        if length > self.bytes_max {
            return Err(Broken::Refused(RefusalCode::FrameTooLarge));
        }
        Ok(length)
    }

    /// The frame itself.
    async fn frame(&mut self, stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Bytes> {
        self.fill(stream, length).await?;
        let frame = self.buffer.split_to(length);
        self.filled -= length;
        Ok(if length <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&frame) } else { frame.freeze() })
    }

    /// Reads until there are so many bytes.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin), bytes: usize) -> io::Result<()> {
        while self.filled < bytes {
            if self.buffer.len() < bytes || self.buffer.len() == self.filled {
                let size = if self.filled == 0 && bytes <= IDLE_BYTES { IDLE_BYTES } else { BUSY_BYTES };
                let mut larger = BytesMut::zeroed(size.max(bytes));
                larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
                self.buffer = larger;
            }
            match stream.read(&mut self.buffer[self.filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::io::Cursor;

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            wire.extend_from_slice(&u32::try_from(frame.len()).expect("short").to_be_bytes());
            wire.extend_from_slice(frame);
        }
        wire
    }

    #[tokio::test]
    async fn frames_of_all_sizes_come_out_as_they_went_in() {
        let sizes = [1, 2, 3, 2_048, 2_049, 4_092, 4_096, 65_536, 131_068, 131_072, 300_000, 1, 7];
        let sent: Vec<Vec<u8>> =
            sizes.iter().map(|size| (0..*size).map(|i| (i % 251) as u8).collect()).collect();
        let mut stream = Cursor::new(wire(&sent));
        let mut frames = Frames::new(300_000);
        for frame in &sent {
            let length = frames.length(&mut stream).await.expect("another frame");
            assert_eq!(&frames.frame(&mut stream, length).await.expect("whole")[..], &frame[..]);
        }
        assert_eq!(frames.length(&mut stream).await, Err(Broken::Closed));
    }

    #[tokio::test]
    async fn a_frame_of_n_bytes_is_taken_and_one_of_n_plus_1_is_refused_by_its_length_alone() {
        let mut frames = Frames::new(10);
        assert_eq!(frames.length(&mut Cursor::new(10_u32.to_be_bytes())).await, Ok(10));
        for (length, code) in [
            (11_u32, RefusalCode::FrameTooLarge),
            (u32::MAX, RefusalCode::FrameTooLarge),
            (0, RefusalCode::MalformedFrame),
        ] {
            let mut frames = Frames::new(10);
            let found = frames.length(&mut Cursor::new(length.to_be_bytes())).await;
            assert_eq!(found, Err(Broken::Refused(code)));
            assert!(frames.buffer.len() <= IDLE_BYTES, "nothing is reserved for it");
        }
    }

    #[tokio::test]
    async fn a_truncated_frame_is_none() {
        let mut stream = Cursor::new(wire(&[vec![1; 100]])[..50].to_vec());
        let mut frames = Frames::new(1_000);
        let length = frames.length(&mut stream).await.expect("a length");
        assert!(frames.frame(&mut stream, length).await.is_err());
    }
}
