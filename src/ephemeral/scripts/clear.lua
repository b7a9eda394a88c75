-- Forgets every counter of an account; attempts in flight stay in flight. Twin of `AttemptBook::clear`.

local book = open_book()
if not book then return cjson.encode(cjson.null) end
sweep(book)
book.counters = {}
book.lapsed = {}
book.version = book.version + 1
changed = true
return answer(book, book.version)
