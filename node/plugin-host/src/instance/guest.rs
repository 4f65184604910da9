use super::State;
use crate::Fault;
use mainstem_plugin_abi::{Place, names};
use wasmtime::{AsContextMut, Caller, Error, Instance, Memory, Store, TypedFunc};

/// What is called and written to in an instance beside its calls.
pub(crate) struct Exports {
    pub(crate) memory: Memory,
    alloc: TypedFunc<u32, u32>,
    pub(crate) free: TypedFunc<(u32, u32), ()>,
}

impl Exports {
    pub(crate) fn of(store: &mut Store<State>, instance: &Instance) -> Result<Self, Error> {
        let memory = instance.get_memory(&mut *store, names::MEMORY);
        Ok(Self {
            memory: memory.ok_or_else(|| Error::msg("the export memory is missing"))?,
            alloc: instance.get_typed_func(&mut *store, names::ALLOC)?,
            free: instance.get_typed_func(&mut *store, names::FREE)?,
        })
    }

    /// Asks the plugin for memory, and does not believe what it says.
    pub(crate) fn alloc(
        &self,
        store: &mut impl AsContextMut<Data = State>,
        len: u32,
    ) -> Result<Place, Error> {
        let ptr = self.alloc.call(&mut *store, len)?;
        if ptr == 0 {
            return Err(Error::new(no_room(len.into())));
        }
        let place = Place { ptr, len };
        let fits = within(self.memory.data(store.as_context()), place).is_some();
        if fits && ptr.is_multiple_of(8) {
            return Ok(place);
        }
        let why = if fits { "is no multiple of 8" } else { "is not in its memory" };
        Err(Error::new(Fault::Memory(format!("mainstem_alloc gave {ptr} for {len} bytes, which {why}"))))
    }
}

/// Copies a host reply into the plugin's memory, and gives the one before back.
pub(crate) fn give(caller: &mut Caller<'_, State>, exports: &Exports, reply: &[u8]) -> Result<Place, Error> {
    if let Some(before) = caller.data_mut().host_reply.take() {
        exports.free.call(&mut *caller, (before.ptr, before.len))?;
    }
    let len = u32::try_from(reply.len()).map_err(|_| no_room(reply.len() as u64))?;
    let place = exports.alloc(caller, len)?;
    exports.memory.write(&mut *caller, place.ptr as usize, reply)?;
    caller.data_mut().host_reply = Some(place);
    Ok(place)
}

pub(super) fn no_room(bytes: u64) -> Fault {
    Fault::Memory(format!(
        "mainstem_alloc has none for {bytes} bytes; more is to be asked for in the manifest's limits.memory_bytes"
    ))
}

/// What lies at a place, if all of it lies in `memory`.
pub(crate) fn within(memory: &[u8], place: Place) -> Option<&[u8]> {
    let start = usize::try_from(place.ptr).ok()?;
    memory.get(start..start.checked_add(usize::try_from(place.len).ok()?)?)
}

/// As [`within`], to write there.
pub(super) fn within_mut(memory: &mut [u8], place: Place) -> Option<&mut [u8]> {
    let start = usize::try_from(place.ptr).ok()?;
    memory.get_mut(start..start.checked_add(usize::try_from(place.len).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_within_memory_only_with_all_of_it() {
        let memory = [0; 64];
        let len = |ptr, len| within(&memory, Place { ptr, len }).map(<[u8]>::len);
        assert_eq!(len(0, 64), Some(64));
        assert_eq!(len(64, 0), Some(0));
        for (ptr, bytes) in [(0, 65), (1, 64), (65, 0), (u32::MAX, u32::MAX), (8, u32::MAX)] {
            assert_eq!(len(ptr, bytes), None, "{ptr} {bytes}");
        }
    }
}
