/// The whole library: `import Tallystick` is enough.
@_exported public import TallyAudit
@_exported public import TallyCore
@_exported public import TallyRuntime
@_exported public import TallyStore
