"""What Twilio's answers have in common: errors, and lists in pages (two shapes, an old and a new one)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from bot.simulator.wire import Answer, Request, answer_json

PAGE_SIZE, LARGEST_PAGE = 50, 1000


def answer_error(status: int, code: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An error in Twilio's shape."""
    body = {"code": code, "message": text, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status}
    return answer_json(body, status, headers)


def not_found(request: Request) -> Answer:
    return answer_error(404, 20404, f"The requested resource {request.path} was not found")


def no_method() -> Answer:
    return answer_error(405, 20004, "Method not allowed")


def page_of(request: Request, key: str, items: list[dict[str, Any]], *, old: bool = False) -> Answer:
    """One page of a list. `old`: as api.twilio.com writes it (next_page_uri at the top), else with a "meta" object."""
    query = request.query()
    size, page = min(max(query.number("PageSize", PAGE_SIZE), 1), LARGEST_PAGE), query.number("Page", 0)
    shown, more = items[page * size : (page + 1) * size], len(items) > (page + 1) * size
    filters = [(name, value) for name, value in query.items if name not in ("Page", "PageSize", "PageToken")]

    def address(of: int) -> str:
        return f"{request.path}?{urlencode([*filters, ('PageSize', size), ('Page', of), ('PageToken', f'PT{of}')])}"

    following = address(page + 1) if more else None
    if old:
        return answer_json({
            key: shown, "page": page, "page_size": size, "start": page * size, "end": page * size + max(0, len(shown) - 1),
            "uri": address(page), "first_page_uri": address(0), "previous_page_uri": None, "next_page_uri": following,
        })  # fmt: skip
    host = f"http://{request.environ.get('HTTP_HOST', '')}"
    return answer_json({
        key: shown,
        "meta": {
            "key": key, "page": page, "page_size": size, "url": host + address(page), "first_page_url": host + address(0),
            "previous_page_url": None, "next_page_url": host + following if following else None,
        },
    })  # fmt: skip
