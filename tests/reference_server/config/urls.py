from django.urls import path

from monitor import views

urlpatterns = [
    path("api/client/config/<int:client_id>/", views.client_config),
    path("api/client/service/report/", views.service_report),
]
