//! Maps: what an object is, by the word that it begins with.

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// What a map says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapInfo {
    /// Where the map begins.
    pub address: u64,
    /// The type of objects with this map.
    pub instance_type: u16,
    /// What that type is.
    pub kind: Kind,
    /// Bytes of such an object; 0 when each has its own size.
    pub size: u32,
    /// Word at which in-object properties begin.
    pub inobject: u8,
    /// `bit_field`.
    pub bits: u8,
    /// `bit_field2`.
    pub bits2: u8,
    /// `bit_field3`.
    pub bits3: u32,
}

impl V8 {
    /// The map of an object, checked to be one.
    ///
    /// # Errors
    /// [`V8Error::NotObject`] when the word is no pointer into the heap, or what it points to has no valid map.
    pub fn map_of(&self, value: Tagged) -> Result<MapInfo> {
        if !value.is_pointer() || self.pages.page_of(value.address()).is_none() {
            return Err(V8Error::NotObject { address: value.0 });
        }
        let first = self.memory.u64(value.address())?;
        self.map(Tagged(self.map_word(value.address(), first)))
            .ok_or(V8Error::NotObject { address: value.0 })
    }

    /// Where a map is now: a collection moves maps too, and until all pointers are mended the first word of what was moved
    /// leads to the copy. (`MapWord::FromForwardingAddress` in V8's `objects/objects.h`.)
    fn map_now(&self, address: u64) -> u64 {
        match self.memory.u64(address) {
            Ok(word) if word & 7 == 0 && self.pages.page_of(word).is_some() => word,
            _ => address,
        }
    }

    /// What an object is.
    ///
    /// # Errors
    /// As [`V8::map_of`].
    pub fn kind_of(&self, value: Tagged) -> Result<Kind> {
        Ok(self.map_of(value)?.kind)
    }

    /// The map that a word points to, if it points to one: the map's map is its own map, or that one's is, and its
    /// type is that of maps. Each native context has a meta map of its own since V8 12.
    pub fn map(&self, word: Tagged) -> Option<MapInfo> {
        if word.0 & 3 != 1 {
            return None;
        }
        let address = word.address();
        if let Ok(maps) = self.maps.read()
            && let Some(known) = maps.get(&address)
        {
            return *known;
        }
        let info = self.read_map(address);
        if let Ok(mut maps) = self.maps.write()
            && (info.is_some() || maps.len() < 1 << 20)
        {
            maps.insert(address, info);
        }
        info
    }

    fn read_map(&self, address: u64) -> Option<MapInfo> {
        self.pages.page_of(address)?;
        let meta = Tagged(self.memory.u64(self.map_now(address)).ok()?);
        if meta.0 & 3 != 1 {
            return None;
        }
        self.pages.page_of(meta.address())?;
        let meta = self.map_now(meta.address());
        let meta_meta = Tagged(self.memory.u64(meta).ok()?);
        if meta_meta.0 & 3 != 1 || self.map_now(meta_meta.address()) != meta {
            return None;
        }
        let map_type = self.types.number("MAP")?;
        if self.memory.u16(self.at(meta, self.c.map_type)).ok()? != map_type {
            return None;
        }
        let instance_type = self.memory.u16(self.at(address, self.c.map_type)).ok()?;
        Some(MapInfo {
            address,
            instance_type,
            kind: self.types.kind(instance_type),
            size: u32::from(self.memory.u8(self.at(address, self.c.map_size)).ok()?) * 8,
            inobject: self.memory.u8(self.at(address, self.c.map_inobject)).ok()?,
            bits: self.memory.u8(self.at(address, self.c.map_bits)).ok()?,
            bits2: self.memory.u8(self.at(address, self.c.map_bits2)).ok()?,
            bits3: self.memory.u32(self.at(address, self.c.map_bits3)).ok()?,
        })
    }
}
