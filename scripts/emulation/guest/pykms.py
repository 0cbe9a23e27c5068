"""picamera2 imports this for its preview window, which a board without a screen never opens."""


class _Anything:
    def __getattr__(self, name: str) -> "_Anything":
        return self

    def __call__(self, *args: object, **more: object) -> "_Anything":
        return self


PixelFormat = _Anything()
