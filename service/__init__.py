"""The server: HTTP requests -> rows with stacks -> one device thread -> answers. Start at `app.create_app`.

A request's way: `routes.predict` -> `resolve` -> `tasks` encode -> `admission` -> `engine` and its
`turns` (`batching` picks, `residency` pins) -> `madx.forward` -> `readout` -> `tasks` decode.
"""
