-- What a tenant spent. Twin of `BudgetBook::usage`.

local book = open_tenant(KEYS[1])
local hour_messages, hour_money = hour(book)
local day_messages, day_money = day(book)
return cjson.encode({
  hour = { hour_messages, string.format('%.0f', hour_money) },
  day = { day_messages, string.format('%.0f', day_money) },
  stops = book.stops,
  reached = book.told,
})
