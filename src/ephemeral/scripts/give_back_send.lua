-- Takes back a booked send that could not be written to the outbox. Twin of `CodeBook::give_back`.

local book = open_book()
local log = book.lanes[ask.lane]
for position = log and #log.sends or 0, 1, -1 do
  if log.sends[position] == ask.sent_at then
    table.remove(log.sends, position)
    changed = true
    break
  end
end
return answer(book, changed)
