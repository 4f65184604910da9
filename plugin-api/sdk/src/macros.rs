/// Makes a module a plugin for signatures: its exports, and `Plugin`, its [`Instance`](crate::Instance) for tests.
///
/// Takes a type that is [`Signature`](crate::Signature). Once in a crate, at its top.
#[macro_export]
macro_rules! signature {
    ($signature:ty) => {
        /// An instance of this plugin.
        pub type Plugin = $crate::SignatureModule<$signature>;
        $crate::__exports!(Plugin);
    };
}

/// Makes a module a plugin for encryption: its exports, and `Plugin`, its [`Instance`](crate::Instance) for tests.
///
/// Takes a type that is [`Encryption`](crate::Encryption). Once in a crate, at its top.
#[macro_export]
macro_rules! encryption {
    ($encryption:ty) => {
        /// An instance of this plugin.
        pub type Plugin = $crate::EncryptionModule<$encryption>;
        $crate::__exports!(Plugin);
    };
}

/// Makes a module a plugin for storage: its exports, and `Plugin`, its [`Instance`](crate::Instance) for tests.
///
/// Takes a type that is [`Storage`](crate::Storage). Once in a crate, at its top.
#[macro_export]
macro_rules! storage {
    ($storage:ty) => {
        /// An instance of this plugin.
        pub type Plugin = $crate::StorageModule<$storage>;
        $crate::__exports!(Plugin);
    };
}

/// Makes a module a plugin of operators: its exports, and `Plugin`, its [`Instance`](crate::Instance) for tests.
///
/// Takes types that are [`Operator`](crate::Operator), each with a name of its own. Once in a crate, at its top.
#[macro_export]
macro_rules! operators {
    ($($operator:ty),+ $(,)?) => {
        /// The operators of this plugin.
        #[derive(Debug)]
        pub struct Operators;

        impl $crate::OperatorSet for Operators {
            fn start(
                name: &str,
                parameters: &$crate::Parameters<'_>,
            ) -> ::std::option::Option<
                ::std::result::Result<::std::boxed::Box<dyn $crate::Running>, $crate::Failure>,
            > {
                $(
                    if name == <$operator as $crate::Operator>::NAME {
                        let started = <$operator as $crate::Operator>::start(parameters);
                        return ::std::option::Option::Some(
                            started.map(|operator| ::std::boxed::Box::new(operator) as _),
                        );
                    }
                )+
                ::std::option::Option::None
            }
        }

        /// An instance of this plugin.
        pub type Plugin = $crate::OperatorModule<Operators>;
        $crate::__exports!(Plugin);
    };
}

/// What a module exports, by `ABI.md`, "The module".
#[doc(hidden)]
#[macro_export]
macro_rules! __exports {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports have names of their own and take addresses")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<$plugin> = ::std::default::Default::default();
            }

            #[unsafe(no_mangle)]
            extern "C" fn mainstem_abi() -> u32 {
                $crate::exports::ABI
            }

            #[unsafe(no_mangle)]
            extern "C" fn mainstem_alloc(len: u32) -> *mut u8 {
                $crate::exports::alloc(len)
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn mainstem_free(ptr: *mut u8, len: u32) {
                // SAFETY: the node gives back what it got, by the ABI.
                unsafe { $crate::exports::free(ptr, len) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn mainstem_call(ptr: *const u8, len: u32) -> u64 {
                // SAFETY: the node has written the request there and leaves it alone, by the ABI.
                unsafe { $crate::exports::call(&INSTANCE, ptr, len) }
            }
        };
    };
}
