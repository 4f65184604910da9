use crate::{
    frame::{self, Content},
    gone,
    places::Places,
};
use mainstem_plugin_sdk::{Failure, Files, Record};
use std::collections::BTreeSet;

/// Bytes of a file that this plugin has written, at most.
const FILE_BYTES_MAX: usize = 4 << 20;

/// One file of frames, and what was trimmed of it.
#[derive(Debug)]
pub(crate) struct Segment {
    first: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Read when it is first needed.
    loaded: Option<Loaded>,
}

#[derive(Debug, Default)]
struct Loaded {
    frames: Vec<Frame>,
    gone: BTreeSet<u64>,
    /// Records of all frames, those that are gone too.
    records: usize,
    /// Behind the last frame.
    whole: usize,
}

/// Where a frame is, and what records it has.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// Of a stretch that is no frame one place that may have been there.
    places: Places,
}

pub(crate) fn file_name(first: u64) -> String {
    format!("{first:016x}.seg")
}

pub(crate) fn gone_name(first: u64) -> String {
    format!("{first:016x}.gone")
}

/// First place and ending of a file of a segment.
pub(crate) fn read_name(name: &str) -> Option<(u64, &'static str)> {
    let (number, ending) = name.split_at_checked(16)?;
    let ending = [".seg", ".gone"].into_iter().find(|known| *known == ending)?;
    let first = u64::from_str_radix(number, 16).ok()?;
    (format!("{first:016x}") == number).then_some((first, ending))
}

impl Segment {
    /// One that is there.
    pub(crate) const fn new(first: u64, size: u64) -> Self {
        Self { first, size, loaded: None }
    }

    /// A new one.
    pub(crate) fn begin(first: u64) -> Self {
        Self { first, size: 0, loaded: Some(Loaded::default()) }
    }

    /// Reads where its frames are. It was synced, so an end that is none is damage.
    pub(crate) fn load(&mut self, files: &Files<'_>) -> Result<(), Failure> {
        if self.loaded.is_some() {
            return Ok(());
        }
        let bytes = self.read(files)?;
        let mut loaded = scan(&bytes, self.first);
        if loaded.whole < bytes.len() {
            loaded.add_damage(loaded.whole, bytes.len(), self.first);
        }
        self.load_gone(files, loaded)
    }

    /// Reads where its frames are, and cuts off what is none behind them; true if there was such.
    pub(crate) fn cut_torn_tail(&mut self, files: &Files<'_>) -> Result<bool, Failure> {
        let loaded = scan(&self.read(files)?, self.first);
        let whole = loaded.whole as u64;
        let is_torn = whole < self.size;
        if is_torn {
            files.cut(&file_name(self.first), whole)?;
            self.size = whole;
        }
        self.load_gone(files, loaded)?;
        Ok(is_torn)
    }

    fn read(&self, files: &Files<'_>) -> Result<Vec<u8>, Failure> {
        let name = file_name(self.first);
        let length = usize::try_from(self.size).ok().filter(|length| *length <= FILE_BYTES_MAX);
        let length = length.ok_or_else(|| {
            Failure::internal(format!(
                "{name} has {} bytes, more than this plugin writes: move it away",
                self.size
            ))
        })?;
        files.read(&name, 0, length)
    }

    fn load_gone(&mut self, files: &Files<'_>, mut loaded: Loaded) -> Result<(), Failure> {
        let gone_name = gone_name(self.first);
        let size = files.size(&gone_name)?;
        if size > 0 {
            let (places, whole) = gone::decode(&files.read(&gone_name, 0, size as usize)?);
            // What a write left that was cut short must not be in the way of the next.
            files.cut(&gone_name, whole as u64)?;
            loaded.gone = places.into_iter().filter(|place| loaded.index_of(*place).is_some()).collect();
        }
        self.loaded = Some(loaded);
        Ok(())
    }

    fn frames(&self) -> &[Frame] {
        self.loaded.as_ref().map_or(&[], |loaded| &loaded.frames)
    }

    pub(crate) fn frame(&self, index: usize) -> Option<&Frame> {
        self.frames().get(index)
    }

    /// Frames that may have records from a place on.
    pub(crate) fn indices_from(&self, place: u64) -> std::ops::Range<usize> {
        self.frames().partition_point(|frame| frame.places.last() < place)..self.frames().len()
    }

    /// Places of a frame's records that were not trimmed.
    pub(crate) fn places_left(&self, index: usize) -> impl Iterator<Item = u64> + '_ {
        let loaded = self.loaded.as_ref();
        let frame = loaded.and_then(|loaded| loaded.frames.get(index));
        let places = frame.into_iter().flat_map(|frame| frame.places.iter());
        places.filter(move |place| loaded.is_some_and(|loaded| !loaded.gone.contains(place)))
    }

    /// The frame of a record that was not trimmed.
    pub(crate) fn frame_of(&self, place: u64) -> Option<usize> {
        let loaded = self.loaded.as_ref()?;
        loaded.index_of(place).filter(|_| !loaded.gone.contains(&place))
    }

    pub(crate) fn last_place(&self) -> Option<u64> {
        self.frames().last().map(|frame| frame.places.last())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.gone.len() >= loaded.records)
    }

    /// Whether it is worth writing anew.
    pub(crate) fn is_sparse(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.gone.len() > loaded.records / 2)
    }

    pub(crate) fn append(
        &mut self,
        files: &Files<'_>,
        frame: &[u8],
        records: &[Record<'_>],
    ) -> Result<(), Failure> {
        let end = files.append(&file_name(self.first), frame)?;
        let places = Places::of(records.iter().map(|record| record.place));
        let places = places.ok_or_else(|| Failure::internal("places that are appended rise"))?;
        if let Some(loaded) = &mut self.loaded {
            loaded.records += places.count();
            let (offset, length) = (self.size as u32, frame.len() as u32);
            loaded.frames.push(Frame { offset, length, places });
        }
        self.size = end;
        Ok(())
    }

    /// Notes that records are gone; false if none of them was there.
    pub(crate) fn trim(&mut self, files: &Files<'_>, places: &[u64]) -> Result<bool, Failure> {
        let there: BTreeSet<_> =
            places.iter().copied().filter(|place| self.frame_of(*place).is_some()).collect();
        let Some(loaded) = self.loaded.as_mut().filter(|_| !there.is_empty()) else { return Ok(false) };
        files.append(&gone_name(self.first), &gone::encode(&there.iter().copied().collect::<Vec<_>>()))?;
        loaded.gone.extend(there);
        Ok(true)
    }

    /// Writes it anew, at once, with what is left of it. What cannot be read stays as it is.
    pub(crate) fn rewrite(&mut self, files: &Files<'_>) -> Result<(), Failure> {
        let name = file_name(self.first);
        let bytes = self.read(files)?;
        // Of frames that cannot be read what was trimmed stays named.
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (index, frame) in self.frames().iter().enumerate() {
            let old = frame.offset as usize..(frame.offset + frame.length) as usize;
            let Some(old) = bytes.get(old) else { continue };
            let left: Vec<_> = self.places_left(index).collect();
            match frame::decode(old) {
                _ if left.is_empty() => {}
                Some(content) if left.len() < frame.places.count() => new.extend(left_of(&content, &left)),
                Some(_) | None => {
                    new.extend_from_slice(old);
                    gone.extend(frame.places.iter().filter(|place| !left.contains(place)));
                }
            }
        }
        files.put(&name, &new)?;
        // IMPORTANT: behind it, as what is named there twice does no harm.
        if gone.is_empty() {
            files.delete(&gone_name(self.first))?;
        } else {
            files.put(&gone_name(self.first), &gone::encode(&gone))?;
        }
        *self = Self::new(self.first, new.len() as u64);
        self.load(files)
    }
}

impl Loaded {
    /// Notes a stretch that is no frame. At least one record was there; which places it had nobody knows.
    fn add_damage(&mut self, start: usize, end: usize, first: u64) {
        let least = self.frames.last().map_or(first, |frame| frame.places.last() + 1);
        let places = Places::Run { first: least, count: 1 };
        self.frames.push(Frame { offset: start as u32, length: (end - start) as u32, places });
        self.records += 1;
        self.whole = end;
    }

    fn index_of(&self, place: u64) -> Option<usize> {
        let index = self.frames.partition_point(|frame| frame.places.last() < place);
        self.frames.get(index).filter(|frame| frame.places.contains(place)).map(|_| index)
    }
}

fn left_of(content: &Content, places: &[u64]) -> Vec<u8> {
    let record = |place: &u64| {
        let (timestamp, value) = content.record(*place)?;
        Some(Record { place: *place, timestamp, value })
    };
    frame::encode(&places.iter().filter_map(record).collect::<Vec<_>>())
}

/// Finds the frames of a file whose first place is `first`. Where there is none, the next one is looked for.
fn scan(bytes: &[u8], first: u64) -> Loaded {
    let (mut loaded, mut at, mut least) = (Loaded::default(), 0, first);
    while at < bytes.len() {
        let fits = |at: &usize| {
            let head = frame::read_head(&bytes[*at..])?;
            (*at + head.length <= bytes.len() && head.places.first() >= least).then_some((*at, head))
        };
        let Some((begin, head)) = (at..bytes.len()).find_map(|at| fits(&at)) else { break };
        if begin > at && head.places.first() > least {
            loaded.add_damage(at, begin, first);
        }
        least = head.places.last() + 1;
        at = begin + head.length;
        loaded.records += head.places.count();
        loaded.frames.push(Frame { offset: begin as u32, length: head.length as u32, places: head.places });
        loaded.whole = at;
    }
    loaded
}
