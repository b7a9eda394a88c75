-- Ends the lock of one lane and begins its window anew. Twin of `AttemptBook::lift`.

local book = open_book()
if not book then return cjson.encode(cjson.null) end
sweep(book)
local counter = counter_at(counter_of(book, ask.lane), now)
counter.failures = 0
counter.lock = nil
put_counter(book, ask.lane, counter)
return answer(book, { counter = counter_of(book, ask.lane), version = book.version })
